//! Notices that the configuration, or a file that it refers to, holds something else.
//!
//! Watched are folders, not files: an editor puts a new file in the place of the old one, and Kubernetes exchanges the link `..data` beside
//! the files of a config map. What counts is the content, so an event without a change leads to nothing; and since not every file system
//! has events, the content is looked at now and then without one.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use notify::event::ModifyKind;
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
    let changed = Arc::<Notify>::default();
    let tell = Arc::clone(&changed);
    // Another file may be referred to now, whoever asked for the reload.
    reloader.observe(Arc::new(move |moment| {
        if moment == Moment::Ended {
            tell.notify_one();
        }
    }));
    let mut folders = None;
    loop {
        let (asked, tell) = (reloader.clone(), Arc::clone(&changed));
        let watching = tokio::task::spawn_blocking(move || {
            // Nothing is watched for those who do not want it.
            let mut folders = asked.watches().then(|| folders.unwrap_or_else(|| Folders::new(Arc::clone(&tell))));
            if folders.as_mut().is_some_and(|folders| folders.watch(&asked.paths())) {
                // Something may have changed since it was read and before it was watched.
                tell.notify_one();
            }
            folders
        });
        folders = watching.await.unwrap_or_default();
        if tokio::time::timeout(POLL, changed.notified()).await.is_ok() {
            wait_for_quiet(&changed).await;
        }
        let asked = reloader.clone();
        let outdated = tokio::task::spawn_blocking(move || asked.watches() && asked.is_outdated()).await;
        if outdated.unwrap_or_default() {
            // What came of it is in the log already.
            drop(reloader.reload(Cause::File).await);
        }
    }
}

/// Which folder it is that has this name: one that was made anew is not watched by the old watch. Its number may be the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FolderId(u64, u64, Option<SystemTime>);

/// The folders that are watched.
struct Folders {
    watcher: Option<RecommendedWatcher>,
    watched: BTreeMap<PathBuf, FolderId>,
    /// Names of the files whose content counts, and of the folders where that of every file does.
    read: Arc<ArcSwap<BTreeSet<OsString>>>,
}

/// Whether files may hold something else after this event.
///
/// Our own reading is an event too. So is a line in a log that stands beside the configuration: heard of, it would put off every reload.
/// Names are compared without their folders, of which an event has one path of many: a folder that is watched under several names, relative
/// or behind links, is told of under the last of them.
fn matters(event: &notify::Event, read: &BTreeSet<OsString>) -> bool {
    match event.kind {
        EventKind::Access(_) => false,
        EventKind::Modify(ModifyKind::Data(_)) => {
            let is_read = |path: &Path| path.file_name().is_none_or(|name| read.contains(name));
            event.paths.iter().any(|path| is_read(path) || path.parent().is_some_and(is_read))
        }
        _ => true,
    }
}

impl Folders {
    /// None yet; `changed` is told of what happens in them.
    fn new(changed: Arc<Notify>) -> Self {
        let read = Arc::<ArcSwap<BTreeSet<OsString>>>::default();
        let known = Arc::clone(&read);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.as_ref().map_or(true, |event| matters(event, &known.load())) {
                changed.notify_one();
            }
        });
        if let Err(error) = &watcher {
            let every = POLL.as_secs();
            tracing::warn!(%error, "files cannot be watched; they are looked at every {every} s");
        }
        Self { watcher: watcher.ok(), watched: BTreeMap::new(), read }
    }

    /// Watches the folders of these files, and no others. Tells whether one of them is new.
    fn watch(&mut self, paths: &BTreeSet<PathBuf>) -> bool {
        let Some(watcher) = &mut self.watcher else { return false };
        let wanted = folders_of(paths);
        let behind_links = paths.iter().filter_map(|path| path.canonicalize().ok());
        let name = |path: PathBuf| path.file_name().map(OsStr::to_owned);
        self.read.store(Arc::new(paths.iter().cloned().chain(behind_links).filter_map(name).collect()));
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
        let mut is_new = false;
        for (folder, id) in wanted {
            if self.watched.contains_key(&folder) {
                continue;
            }
            match watcher.watch(&folder, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    self.watched.insert(folder, id);
                    is_new = true;
                }
                Err(error) => tracing::debug!(%error, folder = %folder.display(), "a folder cannot be watched"),
            }
        }
        is_new
    }
}

async fn wait_for_quiet(changed: &Notify) {
    let latest = Instant::now() + LONGEST_UNREST;
    while timeout_at(latest.min(Instant::now() + QUIET), changed.notified()).await.is_ok() {
        if Instant::now() >= latest {
            return;
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
    Some(FolderId(metadata.dev(), metadata.ino(), metadata.created().ok()))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    /// Whether an event comes soon.
    async fn hears(changed: &Notify) -> bool {
        tokio::time::timeout(Duration::from_secs(10), changed.notified()).await.is_ok()
    }

    /// Takes what has come so far.
    async fn rest(changed: &Notify) {
        while tokio::time::timeout(Duration::from_millis(100), changed.notified()).await.is_ok() {}
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
        let changed = Arc::<Notify>::default();
        let mut folders = Folders::new(Arc::clone(&changed));
        folders.watch(&paths);

        std::fs::write(&behind, "2").unwrap();
        assert!(hears(&changed).await, "behind a link");
        rest(&changed).await;
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "2");
        assert!(tokio::time::timeout(Duration::from_millis(300), changed.notified()).await.is_err(), "read");

        std::fs::write(folder.join("new"), "3").unwrap();
        std::fs::rename(folder.join("new"), &file).unwrap();
        assert!(hears(&changed).await, "as editors do");
        folders.watch(&paths);
        rest(&changed).await;
        assert!(!folders.watched.contains_key(&elsewhere), "nothing refers there any more");

        std::fs::remove_dir_all(&folder).unwrap();
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(&file, "5").unwrap();
        // Until then the end of the old folder would end the new watch.
        rest(&changed).await;
        assert!(folders.watch(&paths) && !folders.watch(&paths));
        std::fs::write(&file, "6").unwrap();
        assert!(hears(&changed).await, "in a folder that was made anew");
    }

    #[tokio::test]
    async fn a_log_beside_the_configuration_is_not_heard_of() {
        let home = tempfile::tempdir().unwrap();
        let (file, log, rules) = (home.path().join("file"), home.path().join("log"), home.path().join("rules"));
        std::fs::create_dir(&rules).unwrap();
        for file in [&file, &log, &rules.join("rule")] {
            std::fs::write(file, "1").unwrap();
        }
        let changed = Arc::<Notify>::default();
        let mut folders = Folders::new(Arc::clone(&changed));
        folders.watch(&[file.clone(), rules.clone()].into());
        let add = |file: &Path| writeln!(std::fs::File::options().append(true).open(file).unwrap(), "2").unwrap();

        add(&log);
        assert!(tokio::time::timeout(Duration::from_millis(300), changed.notified()).await.is_err(), "the log");
        add(&file);
        assert!(hears(&changed).await, "the file");
        rest(&changed).await;
        add(&rules.join("rule"));
        assert!(hears(&changed).await, "a file of a folder");
    }

    #[tokio::test]
    async fn a_folder_with_several_names_is_heard_of_under_each() {
        let home = tempfile::tempdir().unwrap();
        let (folder, first, last) = (home.path().join("folder"), home.path().join("a"), home.path().join("z"));
        std::fs::create_dir(&folder).unwrap();
        for link in [&first, &last] {
            std::os::unix::fs::symlink(&folder, link).unwrap();
        }
        for name in ["one", "two"] {
            std::fs::write(folder.join(name), "1").unwrap();
        }
        let changed = Arc::<Notify>::default();
        let mut folders = Folders::new(Arc::clone(&changed));
        folders.watch(&[first.join("one"), last.join("two")].into());
        for name in ["one", "two"] {
            let mut file = std::fs::File::options().append(true).open(folder.join(name)).unwrap();
            writeln!(file, "2").unwrap();
            assert!(hears(&changed).await, "{name}");
            rest(&changed).await;
        }
    }
}
