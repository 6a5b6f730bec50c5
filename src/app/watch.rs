//! Notices that the configuration, or a file that it refers to, holds something else.
//!
//! Watched are folders, not files: an editor puts a new file in the place of the old one, and Kubernetes exchanges the link `..data` beside
//! the files of a config map. What counts is the content, so an event without a change leads to nothing; and since not every file system
//! has events, the content is looked at now and then without one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::reload::{Cause, Moment, Reloader};

/// How long nothing may happen before files are read: certificate and key come one after the other.
const QUIET: Duration = Duration::from_secs(1);
/// Longest time that is waited for such quiet.
const LONGEST_UNREST: Duration = Duration::from_secs(10);
/// How often the content is looked at without an event.
const POLL: Duration = Duration::from_secs(30);

/// Reloads when something changes, until the task ends.
pub(super) async fn follow(reloader: Reloader) {
    let mut folders = Folders::new();
    let tell = Arc::clone(&folders.changed);
    // Another file may be referred to now, whoever asked for the reload.
    reloader.observe(Arc::new(move |moment| {
        if moment == Moment::Ended {
            tell.notify_one();
        }
    }));
    loop {
        if reloader.watches() {
            folders.watch(&reloader.paths());
        }
        let event = tokio::time::timeout(POLL, folders.changed.notified()).await.is_ok();
        if event {
            folders.wait_for_quiet().await;
        }
        let asked = reloader.clone();
        let outdated = tokio::task::spawn_blocking(move || asked.watches() && asked.is_outdated()).await;
        if outdated.unwrap_or_default() {
            // What came of it is in the log already.
            drop(reloader.reload(Cause::File).await);
        }
    }
}

/// Which folder it is that has this name: one that was made anew is not watched by the old watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FolderId(u64, u64);

/// The folders that are watched.
struct Folders {
    changed: Arc<Notify>,
    watcher: Option<RecommendedWatcher>,
    watched: BTreeMap<PathBuf, FolderId>,
}

impl Folders {
    fn new() -> Self {
        let changed = Arc::<Notify>::default();
        let tell = Arc::clone(&changed);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Our own reading is an event too.
            if !matches!(event, Ok(notify::Event { kind: EventKind::Access(_), .. })) {
                tell.notify_one();
            }
        });
        if let Err(error) = &watcher {
            let every = POLL.as_secs();
            tracing::warn!(%error, "files cannot be watched; they are looked at every {every} s");
        }
        Self { changed, watcher: watcher.ok(), watched: BTreeMap::new() }
    }

    /// Watches the folders of these files, and no others.
    fn watch(&mut self, paths: &BTreeSet<PathBuf>) {
        let Some(watcher) = &mut self.watcher else { return };
        let wanted = folders_of(paths);
        let is_current = |folder: &PathBuf, id: &FolderId| wanted.get(folder) == Some(id);
        let gone: Vec<_> = self
            .watched
            .iter()
            .filter(|(folder, id)| !is_current(folder, id))
            .map(|(folder, _)| folder.clone())
            .collect();
        for folder in gone {
            // It may be gone itself, and the watch with it.
            drop(watcher.unwatch(&folder));
            self.watched.remove(&folder);
        }
        for (folder, id) in wanted {
            if self.watched.contains_key(&folder) {
                continue;
            }
            match watcher.watch(&folder, RecursiveMode::NonRecursive) {
                Ok(()) => drop(self.watched.insert(folder, id)),
                Err(error) => tracing::debug!(%error, folder = %folder.display(), "a folder cannot be watched"),
            }
        }
    }

    async fn wait_for_quiet(&self) {
        let latest = Instant::now() + LONGEST_UNREST;
        while timeout_at(latest.min(Instant::now() + QUIET), self.changed.notified()).await.is_ok() {
            if Instant::now() >= latest {
                return;
            }
        }
    }
}

/// The folders in which these files and folders stand, by their names and behind all links, and the folders themselves.
fn folders_of(paths: &BTreeSet<PathBuf>) -> BTreeMap<PathBuf, FolderId> {
    let mut folders = BTreeMap::new();
    let mut add = |folder: &Path| {
        if let Some(id) = id_of(folder) {
            folders.insert(folder.to_owned(), id);
        }
    };
    for path in paths {
        for path in [Some(path.clone()), path.canonicalize().ok()].into_iter().flatten() {
            path.parent().into_iter().for_each(&mut add);
            add(&path);
        }
    }
    folders
}

/// `None` if it is no folder.
#[cfg(unix)]
fn id_of(folder: &Path) -> Option<FolderId> {
    use std::os::unix::fs::MetadataExt as _;
    let metadata = std::fs::metadata(folder).ok().filter(std::fs::Metadata::is_dir)?;
    Some(FolderId(metadata.dev(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether an event comes soon.
    async fn hears(folders: &Folders) -> bool {
        tokio::time::timeout(Duration::from_secs(10), folders.changed.notified()).await.is_ok()
    }

    /// Takes what has come so far.
    async fn rest(folders: &Folders) {
        while tokio::time::timeout(Duration::from_millis(100), folders.changed.notified()).await.is_ok() {}
    }

    #[tokio::test]
    async fn files_are_noticed_however_they_are_exchanged_and_reading_is_no_change() {
        let home = tempfile::tempdir().unwrap();
        let (folder, elsewhere) = (home.path().join("a"), home.path().join("b"));
        std::fs::create_dir(&folder).unwrap();
        std::fs::create_dir(&elsewhere).unwrap();
        let (file, behind) = (folder.join("file"), elsewhere.join("behind"));
        std::fs::write(&behind, "1").unwrap();
        std::os::unix::fs::symlink(&behind, &file).unwrap();
        let paths: BTreeSet<_> = [file.clone()].into();
        let mut folders = Folders::new();
        folders.watch(&paths);

        std::fs::write(&behind, "2").unwrap();
        assert!(hears(&folders).await, "behind a link");
        rest(&folders).await;
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "2");
        assert!(tokio::time::timeout(Duration::from_millis(300), folders.changed.notified()).await.is_err(), "read");

        std::fs::write(folder.join("new"), "3").unwrap();
        std::fs::rename(folder.join("new"), &file).unwrap();
        assert!(hears(&folders).await, "as editors do");
        folders.watch(&paths);
        rest(&folders).await;
        std::fs::write(&behind, "4").unwrap();
        assert!(
            tokio::time::timeout(Duration::from_millis(300), folders.changed.notified()).await.is_err(),
            "nothing refers there any more"
        );

        std::fs::remove_dir_all(&folder).unwrap();
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(&file, "5").unwrap();
        folders.watch(&paths);
        rest(&folders).await;
        std::fs::write(&file, "6").unwrap();
        assert!(hears(&folders).await, "in a folder that was made anew");
    }
}
