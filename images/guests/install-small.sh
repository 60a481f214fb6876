#!/bin/sh
# Installs the packages of this CD on an empty disk.
busybox mke2fs /dev/xvda >/dev/null || echo "NIDUS-INSTALL-FAILED mke2fs"
mount -t ext4 /dev/xvda /mnt || echo "NIDUS-INSTALL-FAILED mount"
for deb in /cd/*.deb; do
	busybox dpkg-deb -x $deb /mnt || echo "NIDUS-INSTALL-FAILED $deb"
done
cp /cd/init /mnt/sbin/init
chroot /mnt /bin/busybox --install -s /bin
umount /mnt && echo NIDUS-INSTALLED
poweroff -f
