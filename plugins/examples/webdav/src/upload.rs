//! Files that are being uploaded: under a random name, until they are complete.

use obnam_plugin::Error;
use obnam_plugin::error::unavailable;
use obnam_plugin::http::{Body, now_seconds};
use obnam_plugin::wasi::random::random::get_random_u64;

use crate::dav::{self, Entry, Moved};
use crate::names::INCOMING;
use crate::settings::Settings;

/// After this time nobody is still at work on an upload, in seconds: Obnam gives no call so long.
pub const STALE_AFTER: u64 = 24 * 60 * 60;

/// A file that is complete, but has not its name yet. It is removed when this is dropped.
pub struct Upload<'a> {
    settings: &'a Settings,
    name: String,
    /// Whether there is nothing to be removed: it has its name, or the server cannot be reached.
    done: bool,
}

impl<'a> Upload<'a> {
    /// Uploads it.
    pub fn send(settings: &'a Settings, body: Body, doing: &str) -> Result<Self, Error> {
        let name = format!("{INCOMING}{:016x}", get_random_u64());
        let mut upload = Upload { settings, name, done: false };
        match dav::upload(settings, &upload.name, body, doing) {
            Ok(true) => Ok(upload),
            Ok(false) => {
                upload.done = true;
                make_incoming(settings, doing)?;
                // The content is read already: only Obnam can begin again.
                let why = format!("could not {doing}: the folder {INCOMING} was gone, and has been made again");
                Err(unavailable(why, None))
            }
            Err(error @ Error::Unavailable(_)) => {
                upload.done = true;
                Err(error)
            }
            Err(error) => Err(error),
        }
    }

    /// Gives it a name that nothing has yet; makes the folders that it belongs into.
    pub fn name_it(mut self, name: &str, doing: &str) -> Result<Moved, Error> {
        let mut moved = dav::rename(self.settings, &self.name, name, doing)?;
        if moved == Moved::Nowhere {
            self.make_folders(name, doing)?;
            moved = dav::rename(self.settings, &self.name, name, doing)?;
        }
        self.done = moved == Moved::Done;
        match moved {
            Moved::Nowhere => {
                let host = &self.settings.place.host;
                Err(unavailable(format!("could not {doing}: {host} cannot give the uploaded file its name now"), None))
            }
            moved => Ok(moved),
        }
    }

    /// Makes the folders that a file belongs into.
    fn make_folders(&self, name: &str, doing: &str) -> Result<(), Error> {
        for (end, _) in name.match_indices('/') {
            let folder = &name[..=end];
            if !dav::make_folder(self.settings, folder, doing)? {
                return Err(gone(self.settings, doing));
            }
        }
        Ok(())
    }
}

impl Drop for Upload<'_> {
    fn drop(&mut self) {
        if !self.done {
            let _ = dav::remove(self.settings, &self.name, "remove an upload");
        }
    }
}

/// Makes the folder of uploads, unless it is there.
pub fn make_incoming(settings: &Settings, doing: &str) -> Result<(), Error> {
    if dav::make_folder(settings, INCOMING, doing)? { Ok(()) } else { Err(gone(settings, doing)) }
}

fn gone(settings: &Settings, doing: &str) -> Error {
    Error::NotInitialised(format!("could not {doing}: the folder {} is not there any more", settings.place))
}

/// The uploads that nobody can be at work on any more.
pub fn stale(settings: &Settings) -> Result<Vec<String>, Error> {
    let entries = dav::entries(settings, INCOMING, "look for interrupted uploads")?.unwrap_or_default();
    let before = now_seconds().saturating_sub(STALE_AFTER);
    let is_stale = |entry: &Entry| entry.properties.modified.is_some_and(|modified| modified < before);
    let files = entries.into_iter().filter(|entry| !entry.properties.is_folder && is_stale(entry));
    Ok(files.map(|entry| format!("{INCOMING}{}", entry.name)).collect())
}

/// Removes them. Best effort: they do no harm.
pub fn remove_stale(settings: &Settings) {
    for name in stale(settings).unwrap_or_default() {
        if dav::remove(settings, &name, "remove an interrupted upload").is_ok() {
            obnam_plugin::log!("removed {name}, left by an interrupted backup");
        }
    }
}
