//! Unix sockets: made with their permissions before anybody can see them, and removed at the end.
//!
//! A socket is bound under another name in a folder that nobody else may enter, gets its permissions, and is moved to its place: there is
//! no moment at which it has those of the umask. What stands in its place is replaced only if it is a socket that nobody listens on.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream as StdStream;
use std::path::{Path, PathBuf};
use std::task::{Context, Poll, ready};

use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::{UnixListener, UnixStream};

use super::listener::BACKLOG;
use super::settings::UnixSettings;

/// A listening Unix socket. Its file goes with it.
#[derive(Debug)]
pub(super) struct UnixSocket {
    listener: UnixListener,
    file: Option<SocketFile>,
}

impl UnixSocket {
    /// Opens a socket. Must be called inside a tokio runtime.
    pub(super) fn bind(settings: &UnixSettings) -> io::Result<Self> {
        make_way(&settings.path)?;
        let (socket, file) = open(settings)?;
        Ok(Self { listener: UnixListener::from_std(socket.into())?, file: Some(file) })
    }

    /// Takes a socket that somebody else has bound, whose file is not ours to remove.
    pub(super) fn handed_over(listener: std::os::unix::net::UnixListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self { listener: UnixListener::from_std(listener)?, file: None })
    }

    pub(super) fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<UnixStream>> {
        let (stream, _unnamed) = ready!(self.listener.poll_accept(cx))?;
        Poll::Ready(Ok(stream))
    }

    /// Where its file is, if it is ours.
    pub(super) fn path(&self) -> Option<&Path> {
        self.file.as_ref().map(|file| file.path.as_path())
    }
}

/// Refuses a place that is taken. A socket that nobody listens on is left for [`open`] to replace.
fn make_way(path: &Path) -> io::Result<()> {
    let found = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    if !found.file_type().is_socket() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is something that is no socket"));
    }
    match StdStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        // Permission denied too: nobody can tell then whether it is in use.
        Err(error) => Err(error),
        Ok(_) => Err(io::Error::new(io::ErrorKind::AddrInUse, "somebody listens there already")),
    }
}

fn open(settings: &UnixSettings) -> io::Result<(Socket, SocketFile)> {
    let folder = Nursery::beside(&settings.path)?;
    let hidden = folder.0.join("s");
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::unix(&hidden)?)?;
    fs::set_permissions(&hidden, fs::Permissions::from_mode(settings.mode))?;
    socket.listen(BACKLOG)?;
    let made = fs::symlink_metadata(&hidden)?;
    fs::rename(&hidden, &settings.path)?;
    Ok((socket, SocketFile { path: settings.path.clone(), device: made.dev(), inode: made.ino() }))
}

/// A folder that only we may enter, gone when this is dropped.
struct Nursery(PathBuf);

impl Nursery {
    fn beside(path: &Path) -> io::Result<Self> {
        let parent = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
        // A name that nobody can have prepared: others may write to the folder around it.
        let folder = parent.join(format!(".cs-{}", uuid::Uuid::new_v4().simple()));
        fs::DirBuilder::new().mode(0o700).create(&folder)?;
        Ok(Self(folder))
    }
}

impl Drop for Nursery {
    fn drop(&mut self) {
        drop(fs::remove_file(self.0.join("s")));
        drop(fs::remove_dir(&self.0));
    }
}

/// The file of a socket, removed when this is dropped unless another has taken its place.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = |found: &fs::Metadata| (found.dev(), found.ino()) == (self.device, self.inode);
        if fs::symlink_metadata(&self.path).as_ref().is_ok_and(ours)
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove the Unix socket");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(folder: &tempfile::TempDir, mode: u32) -> UnixSettings {
        UnixSettings { path: folder.path().join("s3.sock"), mode }
    }

    fn kind_of_refusal(settings: &UnixSettings) -> io::ErrorKind {
        UnixSocket::bind(settings).unwrap_err().kind()
    }

    #[tokio::test]
    async fn a_socket_has_its_permissions_and_is_gone_with_its_listener() {
        let folder = tempfile::tempdir().unwrap();
        for mode in [0o600, 0o660, 0o666] {
            let settings = settings(&folder, mode);
            let socket = UnixSocket::bind(&settings).unwrap();
            assert_eq!(fs::metadata(&settings.path).unwrap().mode() & 0o777, mode);
            StdStream::connect(&settings.path).unwrap();
            let others: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
            assert_eq!(others.len(), 1, "{others:?}");
            drop(socket);
            assert!(!settings.path.exists());
        }
    }

    #[tokio::test]
    async fn what_a_killed_gateway_left_is_replaced_and_what_is_in_use_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let settings = settings(&folder, 0o600);
        let first = UnixSocket::bind(&settings).unwrap();
        assert_eq!(kind_of_refusal(&settings), io::ErrorKind::AddrInUse);
        // As if killed: nobody listens, and the file stays.
        let UnixSocket { listener, file } = first;
        std::mem::forget(file);
        drop(listener);
        assert!(settings.path.exists());
        let second = UnixSocket::bind(&settings).unwrap();
        StdStream::connect(&settings.path).unwrap();
        drop(second);
    }

    #[tokio::test]
    async fn what_is_no_socket_stays() {
        let folder = tempfile::tempdir().unwrap();
        let settings = settings(&folder, 0o600);
        fs::write(&settings.path, "data").unwrap();
        assert_eq!(kind_of_refusal(&settings), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&settings.path).unwrap(), b"data");
        fs::remove_file(&settings.path).unwrap();
        std::os::unix::fs::symlink("/nowhere", &settings.path).unwrap();
        assert_eq!(kind_of_refusal(&settings), io::ErrorKind::AlreadyExists);
    }

    #[tokio::test]
    async fn whoever_may_write_beside_a_socket_cannot_prepare_the_folder_in_which_it_is_made() {
        let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let settings = settings(&folder, 0o600);
        let of_others = elsewhere.path().join("s");
        fs::write(&of_others, "data").unwrap();
        // A name that can be known before led out of the folder once, and what was there was removed.
        let link = folder.path().join(format!(".cs-{}", std::process::id()));
        std::os::unix::fs::symlink(elsewhere.path(), &link).unwrap();
        let socket = UnixSocket::bind(&settings);
        assert_eq!(fs::read(&of_others).unwrap(), b"data");
        StdStream::connect(&settings.path).unwrap();
        drop(socket.unwrap());
        let [one, other] = [Nursery::beside(&settings.path).unwrap(), Nursery::beside(&settings.path).unwrap()];
        assert_ne!(one.0, other.0, "no name comes twice");
        let mode = fs::symlink_metadata(&one.0).unwrap().mode() & 0o777;
        assert_eq!(mode, 0o700, "nobody else gets in once it is there");
    }

    #[tokio::test]
    async fn a_socket_in_the_place_of_ours_is_not_removed_with_ours() {
        let folder = tempfile::tempdir().unwrap();
        let settings = settings(&folder, 0o600);
        let first = UnixSocket::bind(&settings).unwrap();
        fs::remove_file(&settings.path).unwrap();
        let second = UnixSocket::bind(&settings).unwrap();
        drop(first);
        StdStream::connect(&settings.path).unwrap();
        drop(second);
    }
}
