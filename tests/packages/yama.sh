#!/bin/sh
# Runs the command $1 on a kernel with Yama, Debian's in an emulated machine: `mailport run` for each
# kernel.yama.ptrace_scope, as a user and as root. Installs QEMU, and downloads the kernel. As root.
set -eu
command=$1
test "$(uname -m)" = x86_64 || { echo "yama: the machine that is emulated is an x86_64" >&2; exit 1; }
for need in qemu-system-x86_64/qemu-system-x86 cpio/cpio; do
    command -v "${need%/*}" >/dev/null || apt-get install -y --no-install-recommends "${need#*/}"
done
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
chmod 755 "$folder"
cp "$command" "$folder/mailport"
cd "$folder"
kernel=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/^ *Depends: \(linux-image-[0-9]\)/\1/p' | head -1)
apt-get download -q -o APT::Sandbox::User=root "$kernel" busybox-static
for package in *.deb; do dpkg -x "$package" unpacked; done

mkdir -p root/bin root/proc root/dev root/sys root/etc root/tmp
cp "$(find unpacked -path '*bin/busybox' -type f)" mailport root/bin/
ldd mailport | grep -o '/[^ ]*' | sort -u | while read -r library; do cp -L --parents "$library" root; done
cat >root/init <<'END'
#!/bin/busybox sh
export PATH=/bin
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t devtmpfs devtmpfs /dev
ip link set lo up
printf 'root:x:0:0::/:/bin/sh\nuser:x:1000:1000::/tmp:/bin/sh\n' >/etc/passwd
for scope in 0 1 2 3; do
    echo $scope >/proc/sys/kernel/yama/ptrace_scope
    for user in user root; do
        # Without a server: a dial says that it has failed, and nc ends with 1.
        su $user -c 'mailport run --cache off --ports 2525 nc 127.0.0.1 2525 </dev/null' 2>/tmp/said
        status=$?
        echo "result: $(cat /proc/sys/kernel/yama/ptrace_scope) $user $status $(grep -o 'ptrace_scope is [0-9]\|2525 is refused' /tmp/said)"
    done
done
poweroff -f
END
chmod +x root/init
(cd root && find . | cpio -o -H newc --quiet) | gzip -1 >root.gz
# Its status and a log without results say less than the comparison below, which then fails.
timeout 600 qemu-system-x86_64 -accel tcg -cpu max -m 512 -nographic -no-reboot -kernel "$(echo unpacked/boot/vmlinuz-*)" \
    -initrd root.gz -append "console=ttyS0 panic=-1 mitigations=off" </dev/null >log 2>&1 || true
tr -d '\r' <log | grep -ao 'result: .*' >results || true
cat >expected <<'END'
result: 0 user 1 2525 is refused
result: 0 root 1 2525 is refused
result: 1 user 1 2525 is refused
result: 1 root 1 2525 is refused
result: 2 user 125 ptrace_scope is 2
result: 2 root 1 2525 is refused
result: 3 user 125 ptrace_scope is 3
result: 3 root 125 ptrace_scope is 3
END
diff expected results || { tail -50 log >&2; exit 1; }
echo "yama: ok"
