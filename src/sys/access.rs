//! What the user that runs relayd may do with a file, asked without doing it.

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// An error unless `path` may be written to; for a directory: unless files may be made in it.
pub fn writable(path: &Path) -> io::Result<()> {
    let c_path = CString::new(path.as_os_str().as_bytes())?;
    // Searching a directory is a part of making files in it.
    let wanted = if path.is_dir() {
        libc::W_OK | libc::X_OK
    } else {
        libc::W_OK
    };
    // SAFETY: the path is a C string that lives through the call.
    let denied =
        unsafe { libc::faccessat(libc::AT_FDCWD, c_path.as_ptr(), wanted, libc::AT_EACCESS) };
    match denied {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// An error unless `folder` could be made and written, judged by the deepest part of its path that is there.
///
/// The error names that part.
pub fn can_create(folder: &Path) -> Result<(), (PathBuf, io::Error)> {
    let present = folder.ancestors().find(|path| path.exists());
    let present = present.filter(|path| !path.as_os_str().is_empty());
    let path = present.unwrap_or(Path::new("."));
    let possible = match path.is_dir() {
        true => writable(path),
        false => Err(io::ErrorKind::NotADirectory.into()),
    };
    possible.map_err(|error| (path.to_owned(), error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_not_there_is_judged_by_the_one_above() {
        let above = std::env::temp_dir();
        can_create(&above.join("relayd-not-there/a/b"))
            .expect("the directory for temporary files is writable");
    }

    #[test]
    fn a_file_is_no_place_for_a_folder() {
        let file = std::env::temp_dir().join(format!("relayd-access-{}", std::process::id()));
        std::fs::write(&file, "").expect("written");
        let (path, _) = can_create(&file.join("state")).expect_err("it is a file");
        assert_eq!(path, file);
        std::fs::remove_file(&file).expect("removed");
    }
}
