//! What the user that runs relayd may do with a file, asked without doing it.

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

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
