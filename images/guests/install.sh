#!/bin/sh
# Debian's minbase on an empty disk, by debootstrap, from this CD. The first stage has
# busybox's tools, the second one those that the first one has put on the disk.
fail() {
	echo "NIDUS-INSTALL-FAILED $*"
	tail -n 20 /mnt/debootstrap/debootstrap.log
	poweroff -f
}
busybox --install -s /bin
mke2fs -I 256 /dev/xvda >/dev/null && mount -t ext4 /dev/xvda /mnt || fail mke2fs
# debootstrap wants a pkgdetails, but runs it in the second stage only.
cp -r /cd/debootstrap /tmp/debootstrap
: >/tmp/debootstrap/pkgdetails
export DEBOOTSTRAP_DIR=/tmp/debootstrap LANG=C
sh /tmp/debootstrap/debootstrap --arch=amd64 --variant=minbase --extractor=ar --foreign --unpack-tarball=/cd/packages.tgz $(ls /cd/debootstrap/scripts | grep -v common) /mnt || fail first stage
echo "NIDUS-INSTALL-STAGE $(cut -d' ' -f1 /proc/uptime)"
unset DEBOOTSTRAP_DIR
chroot /mnt /debootstrap/debootstrap --second-stage || fail second stage
cp /cd/init /mnt/sbin/init
umount /mnt/sys /mnt/proc 2>/dev/null
umount /mnt && echo "NIDUS-INSTALLED $(cut -d' ' -f1 /proc/uptime)"
poweroff -f
