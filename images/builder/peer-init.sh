#!/bin/sh
# Init of dom0's initramfs: says that it is there, unpacks the disk into memory,
# starts Xen's daemons, and gives a shell.
export PATH=/bin:/sbin:/usr/bin:/usr/sbin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
exec </dev/console >/dev/console 2>&1
echo "DOM0-INIT uptime=$(cut -d' ' -f1 /proc/uptime)"
for m in /mods/*.ko; do
	case $m in *-brd.ko) args="rd_nr=1 rd_size=65536" ;; *) args= ;; esac
	insmod $m $args || echo "insmod $m failed"
done
mount -t tmpfs -o size=800m root /mnt
tar xf /dev/vda -C /mnt
for d in dev proc sys; do mount --bind /$d /mnt/$d; done
mkdir -p /dev/pts
mount -t devpts pts /mnt/dev/pts
mount -t tmpfs run /mnt/run
mount -t xenfs xen /mnt/proc/xen
ln -sf /proc/self/fd /dev/fd
ln -sf /proc/self/fd/0 /dev/stdin
ln -sf /proc/self/fd/1 /dev/stdout
ln -sf /proc/self/fd/2 /dev/stderr
mkdir -p /mnt/run/lock /mnt/run/xen /mnt/run/xenstored /mnt/var/log/xen/console /mnt/var/lib/xen
echo 0 >/proc/sys/kernel/printk
chroot /mnt /etc/init.d/xen start
cat >/mnt/rc <<'END'
PS1='dom0# '
cd /guests
END
export TERM=dumb HOME=/root
setsid cttyhack chroot /mnt /bin/bash --noediting --rcfile /rc -i
poweroff -f
