//! Secrets: written in the file, or by reference as `file:PATH` or `env:NAME`. A value never reaches a message.

use super::Surroundings;
use super::section::{Draft, Item, Wrong};
use crate::secret::Secret;
use std::path::{Path, PathBuf};

/// Bytes of a secret, however it is given.
const SECRET_BYTES_MAX: u64 = 4096;
const ACCEPTED: &str = "text, \"file:PATH\" or \"env:NAME\"";

/// Reads a secret and hides it from every report. Bad files and variables are errors, careless ones warnings.
pub(super) fn secret(item: &Item<'_>, around: &Surroundings<'_>) -> Result<Secret, Wrong> {
    item.mask_all(true);
    let text = item.text(ACCEPTED)?;
    let value = if let Some(path) = text.strip_prefix("file:") {
        from_file(item, &around.base_dir.join(path))?
    } else if let Some(name) = text.strip_prefix("env:") {
        from_variable(name, around)?
    } else {
        text.to_owned()
    };
    if value.is_empty() {
        return Err(
            Wrong::new("is empty", "a secret has at least one character")
                .help("put a value there, such as the output of `openssl rand -hex 32`"),
        );
    }
    if value.len() as u64 > SECRET_BYTES_MAX {
        return Err(Wrong::new(
            "is too long",
            format!("accepted: {SECRET_BYTES_MAX} bytes at most"),
        ));
    }
    if value.contains(['\r', '\n']) {
        return Err(Wrong::new(
            "has more than one line",
            "accepted: one line; a line end after it is left out",
        ));
    }
    Ok(Secret::new(value))
}

fn from_variable(name: &str, around: &Surroundings<'_>) -> Result<String, Wrong> {
    let value = (around.env)(name).ok_or_else(|| {
        Wrong::new(
            "names an environment variable that is not set",
            format!("no variable `{name}`"),
        )
        .help(format!(
            "set it before relayd starts: `{name}=… relayd …`, or EnvironmentFile= in the systemd unit"
        ))
    })?;
    Ok(without_line_end(value))
}

fn from_file(item: &Item<'_>, path: &Path) -> Result<String, Wrong> {
    let shown = path.display();
    let unreadable = |error: std::io::Error| {
        Wrong::new(
            "names a file that cannot be read",
            format!("{shown}: {}", reason(&error)),
        )
        .help("a relative path is relative to the configuration file")
    };
    let metadata = std::fs::metadata(path).map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(Wrong::new(
            "does not name a file",
            format!("{shown} is not a regular file"),
        ));
    }
    if metadata.len() > SECRET_BYTES_MAX + 2 {
        return Err(Wrong::new(
            "names a file that is too large for a secret",
            format!("accepted: {SECRET_BYTES_MAX} bytes at most"),
        ));
    }
    if is_world_readable(&metadata) {
        item.reader().push(
            Draft::warning(
                format!("`{}` is in a file that everybody may read", item.path),
                format!("{shown} is readable by others"),
            )
            .at(Some(item.span.clone()))
            .help(format!("chmod o-rwx {shown}")),
        );
    }
    let bytes = std::fs::read(path).map_err(unreadable)?;
    let text = String::from_utf8(bytes)
        .map_err(|_| Wrong::new("names a file that is not text", "accepted: UTF-8 text"))?;
    Ok(without_line_end(text))
}

fn without_line_end(mut text: String) -> String {
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    text
}

pub(super) fn is_world_readable(metadata: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt;
    metadata.permissions().mode() & 0o004 != 0
}

/// What the system says about a file, in words.
pub(super) fn reason(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "no such file".to_owned(),
        std::io::ErrorKind::PermissionDenied => {
            "permission denied for the user that runs relayd".to_owned()
        }
        _ => error.to_string(),
    }
}

/// A file that relayd will read: it must be there and readable now.
pub(super) fn readable_file(item: &Item<'_>, around: &Surroundings<'_>) -> Result<PathBuf, Wrong> {
    let text = item.text("a path, relative to the configuration file")?;
    if text.is_empty() {
        return Err(Wrong::new("is empty", "accepted: a path"));
    }
    if text.contains("-----BEGIN") {
        return Err(Wrong::new(
            "holds a certificate or key",
            "accepted: the path of a file that holds it",
        ));
    }
    let path = around
        .base_dir
        .join(text.strip_prefix("file:").unwrap_or(text));
    let opened = std::fs::File::open(&path).and_then(|file| file.metadata());
    match opened {
        Ok(metadata) if metadata.is_file() => Ok(path),
        Ok(_) => Err(Wrong::new(
            "does not name a file",
            format!("{} is not a regular file", path.display()),
        )),
        Err(error) => Err(Wrong::new(
            "names a file that cannot be read",
            format!("{}: {}", path.display(), reason(&error)),
        )
        .help("a relative path is relative to the configuration file")),
    }
}

/// A file of certificate authorities: PEM, with one certificate at least.
pub(super) fn certificates_file(
    item: &Item<'_>,
    around: &Surroundings<'_>,
) -> Result<PathBuf, Wrong> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;

    let path = readable_file(item, around)?;
    let no_certificate = |label: String| {
        Wrong::new("names a file without usable certificates", label)
            .help("the file holds PEM: -----BEGIN CERTIFICATE----- blocks")
    };
    let blocks =
        CertificateDer::pem_file_iter(&path).map_err(|error| no_certificate(error.to_string()))?;
    let mut count = 0;
    for block in blocks {
        block.map_err(|error| no_certificate(error.to_string()))?;
        count += 1;
    }
    if count == 0 {
        return Err(no_certificate(format!("{} has none", path.display())));
    }
    Ok(path)
}
