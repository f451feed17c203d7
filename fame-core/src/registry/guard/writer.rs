//! Guard of [`Writer`].

use std::path::{Component, Path, PathBuf};

use super::{Guard, Guarded, Who};
use crate::{
    Result,
    contract::{FinishedItem, Writer},
    data::LIST,
};

impl Guard for dyn Writer {
    fn guarded(who: Who, inner: Box<Self>) -> Result<Box<Self>> {
        Ok(Box::new(GuardedWriter(Guarded::new(who, inner))))
    }
}

struct GuardedWriter(Guarded<dyn Writer>);

impl Writer for GuardedWriter {
    fn write(&self, item: &FinishedItem<'_>, folder: &Path) -> Result<Vec<String>> {
        let written = self.0.call("write", |w| w.write(item, folder))??;
        if let Some(missing) = written.iter().find(|name| !folder.join(name).is_file()) {
            return Err(self.0.wrong("write", format!("the file `{missing}`, which is not there")));
        }
        Ok(written)
    }

    fn gather(&self, out: &Path, items: &[PathBuf]) -> Result<Vec<String>> {
        let made = self.0.call("gather", |w| w.gather(out, items))??;
        let is_name = |name: &str| {
            let mut parts = Path::new(name).components();
            matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None))
        };
        let is_made = |name: &str| {
            let place = out.join(name);
            place.is_file() || place.join(LIST).is_file()
        };
        if let Some(wrong) = made.iter().find(|name| !is_name(name) || !is_made(name)) {
            let what =
                format!("`{wrong}`, which is no file of the run's folder, and no listed folder");
            return Err(self.0.wrong("gather", what));
        }
        Ok(made)
    }

    fn replaces(&self) -> Vec<String> {
        // What is not named is not looked at; what goes wrong will be said when it gathers.
        self.0.call("replaces", Writer::replaces).unwrap_or_default()
    }

    fn gathers_last(&self) -> bool {
        // Whatever goes wrong there, `gather` itself will tell.
        self.0.call("gathers_last", Writer::gathers_last).unwrap_or(false)
    }
}
