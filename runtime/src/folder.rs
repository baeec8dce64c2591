//! Folders for what is nobody else's business: keys, recordings, mail.
//!
//! Decides who may look into them, whatever the umask says. Refuses to know what lies in them.

use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

/// A folder that is made is its owner's alone.
const OWNER_ONLY: u32 = 0o700;

/// What all but the owner and the group may do.
const OTHERS: u32 = 0o007;

/// Makes a folder, and those above it that are missing, for its owner alone. One that is there
/// already is closed to all but its owner and its group, unless it belongs to somebody else, who
/// then decides: the mount point of a volume is often the system's.
///
/// # Errors
/// When it cannot be made, or something else lies there.
pub fn private(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(OWNER_ONLY).create(path)?;
    let mode = fs::metadata(path)?.permissions().mode();
    if mode & OTHERS == 0 {
        return Ok(());
    }
    match fs::set_permissions(path, Permissions::from_mode(mode & !OTHERS)) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn a_new_folder_and_those_above_it_are_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state/spool");
        private(&path).unwrap();
        private(&path).unwrap();
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o700, 0o700));
    }

    #[test]
    fn a_folder_that_was_open_to_all_is_closed_to_others() {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o2775)).unwrap();
        private(folder.path()).unwrap();
        assert_eq!(mode(folder.path()), 0o2770);
    }

    #[test]
    fn a_file_in_its_place_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("spool");
        fs::write(&file, "").unwrap();
        assert!(private(&file).is_err());
    }
}
