//! The users that the servers run as: they exist in a server's own /etc only.

use std::io;
use std::path::{Path, PathBuf};

use super::write;

/// The owner of Postfix's queue.
pub(super) const POSTFIX: u32 = 901;
/// The group whose members may put mail into Postfix's queue.
pub(super) const POSTDROP: u32 = 902;
/// The owner of Exim's spool.
pub(super) const EXIM: u32 = 906;
/// The owner of the mailbox.
pub(super) const READER: u32 = 903;

const PASSWD: &str = "\
root:x:0:0::/:/bin/sh
nobody:x:65534:65534::/:/bin/false
postfix:x:901:901::/:/bin/false
reader:x:903:903::/:/bin/sh
opensmtpd:x:904:904::/:/bin/false
opensmtpq:x:905:905::/:/bin/false
Debian-exim:x:906:906::/:/bin/false
dovecot:x:907:907::/:/bin/false
dovenull:x:908:908::/:/bin/false
";
const GROUP: &str = "\
root:x:0:
nogroup:x:65534:
postfix:x:901:
postdrop:x:902:
reader:x:903:
opensmtpd:x:904:
opensmtpq:x:905:
Debian-exim:x:906:
dovecot:x:907:
dovenull:x:908:
";

/// Writes the files of the accounts, to mount over those of the machine.
pub(super) fn files(folder: &Path) -> io::Result<Vec<(PathBuf, PathBuf)>> {
    let files = [("passwd", PASSWD), ("group", GROUP)];
    files
        .into_iter()
        .map(|(name, text)| {
            let ours = folder.join(name);
            write(&ours, text)?;
            Ok((ours, Path::new("/etc").join(name)))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_of_the_files() {
        for (name, id) in [("postfix", POSTFIX), ("reader", READER)] {
            assert!(PASSWD.contains(&format!("{name}:x:{id}:{id}:")), "{name}");
        }
        for (name, id) in [("postfix", POSTFIX), ("postdrop", POSTDROP), ("reader", READER)] {
            assert!(GROUP.contains(&format!("{name}:x:{id}:\n")), "{name}");
        }
    }
}
