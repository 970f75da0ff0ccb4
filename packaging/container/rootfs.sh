#!/bin/sh
# Gathers all that the image has in a folder: `rootfs.sh COMMAND FOLDER`. In `root`: the command, the libraries that it is
# linked with, the system's certificates, a user that is not root. In `state`: what the folder of the database begins with.
set -eu
command=$1 root=$2/root state=$2/state
install -D -m 755 "$command" "$root/usr/bin/sessionwatch"
ldd "$command" | awk '/=> \// { print $3 } /^\t\// { print $1 }' | while read -r library; do
  install -D -m 755 "$library" "$root$library"
done
install -D -m 644 /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
echo 'sessionwatch:x:65532:65532::/var/lib/sessionwatch:/usr/bin/sessionwatch' > "$root/etc/passwd"
echo 'sessionwatch:x:65532:' > "$root/etc/group"
echo 'hosts: files dns' > "$root/etc/nsswitch.conf"
install -d -m 1777 "$root/tmp"
install -d "$root/var/lib" "$state"
echo "The database and the token file." > "$state/README"
