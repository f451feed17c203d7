//! Guard of [`Writer`].

use std::path::{Path, PathBuf};

use super::{Guard, Guarded, Who};
use crate::{
    Result,
    contract::{FinishedItem, Writer},
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

    fn gather(&self, out: &Path, items: &[PathBuf]) -> Result<()> {
        self.0.call("gather", |w| w.gather(out, items))?
    }

    fn gathers_last(&self) -> bool {
        // Whatever goes wrong there, `gather` itself will tell.
        self.0.call("gathers_last", |w| w.gathers_last()).unwrap_or(false)
    }
}
