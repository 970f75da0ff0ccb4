//! Scripts without `#!`, which the system does not run, and a shell does.

use std::{
    env,
    ffi::{OsStr, OsString},
    fs::File,
    io::Read as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

/// How much of a file is looked at to tell a script from a program.
const LOOK: u64 = 256;

/// The script that `program` names, directly or by the PATH; none where it is no text.
pub(super) fn of(program: &OsStr) -> Option<PathBuf> {
    let path = if Path::new(program).components().count() > 1 {
        PathBuf::from(program)
    } else {
        let folders = env::var_os("PATH").unwrap_or_else(|| OsString::from("/usr/bin:/bin"));
        env::split_paths(&folders).map(|folder| folder.join(program)).find(|path| is_executable(path))?
    };
    let mut begin = Vec::new();
    File::open(&path).ok()?.take(LOOK).read_to_end(&mut begin).ok()?;
    (!begin.contains(&0)).then_some(path)
}

fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_no_script() {
        let folder = tempfile::tempdir().expect("a folder");
        let of_text = |text: &[u8]| {
            let path = folder.path().join("f");
            std::fs::write(&path, text).expect("written");
            of(path.as_os_str()).is_some()
        };
        assert!(of_text(b"echo hello\n") && of_text(b""));
        assert!(!of_text(b"\x7fELF\0\0"));
        assert_eq!(of(OsStr::new("no-such-program")), None);
    }
}
