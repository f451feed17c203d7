//! The events of a fetch, for whoever watches it.

use std::path::PathBuf;

use super::Tool;

/// A listener to a fetch.
pub(super) type Watcher<'a> = &'a mut dyn FnMut(FetchEvent);

/// A step of a fetch, for progress bars and logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FetchEvent {
    /// A client begins to download.
    Started {
        /// The package: `name version`.
        what: String,
        /// The client that is run.
        tool: Tool,
    },
    /// Another process is fetching the same thing; this one waits for it.
    Waiting {
        /// The thing that is waited for.
        what: String,
    },
    /// A checksum is computed.
    Verifying {
        /// The thing whose checksum it is.
        what: String,
        /// The size of the file.
        bytes: u64,
    },
    /// A file is taken out of an archive.
    Extracting {
        /// The file's path inside the archive.
        file: String,
    },
    /// A converter runs.
    Converting {
        /// The script, relative to the models folder.
        script: String,
    },
    /// The file is there, and verified.
    Done {
        /// Where.
        path: PathBuf,
        /// Its checksum.
        sha256: String,
        /// True if it was there before.
        cached: bool,
    },
}
