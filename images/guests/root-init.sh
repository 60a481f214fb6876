#!/bin/sh
# /sbin/init of the guests' ext4 root. Regressions wait for the lines in capitals.
export PATH=/bin:/sbin HOME=/root PS1='guest# '
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev 2>/dev/null
exec </dev/console >/dev/console 2>&1
echo "NIDUS-ROOT-UP $(grep ' / ext4 ' /proc/mounts)"
for word in $(cat /proc/cmdline); do
	case $word in test=*) test=${word#test=} ;; esac
done
case $test in
write) # what was written comes back from the disk, not from the cache
	dd if=/dev/urandom of=/data bs=65536 count=64 2>/dev/null
	was=$(md5sum </data)
	sync
	echo 3 >/proc/sys/vm/drop_caches
	is=$(md5sum </data)
	[ "$was" = "$is" ] && echo "NIDUS-ROOT-OK $is"
	mount -o remount,ro / && echo NIDUS-ROOT-RO
	poweroff -f ;;
trim) # the disk gets back what a file had
	dd if=/dev/urandom of=/junk bs=65536 count=192 2>/dev/null
	dd if=/dev/urandom of=/data bs=65536 count=32 2>/dev/null
	sync
	rm /junk
	sync
	fstrim / && echo "NIDUS-ROOT-OK $(md5sum </data)"
	mount -o remount,ro / && echo NIDUS-ROOT-RO
	poweroff -f ;;
work) # ticks by what comes back from the disk
	n=0
	while dd if=/dev/urandom of=/data bs=65536 count=4 2>/dev/null; was=$(md5sum </data); sync; echo 3 >/proc/sys/vm/drop_caches; [ "$was" = "$(md5sum </data)" ]; do
		n=$((n + 1))
		echo "NIDUS-GUEST-TICK $n"
		sleep 1
	done
	echo "NIDUS-ROOT-CHANGED" ;;
*)
	cd /root
	setsid cttyhack sh ;;
esac
poweroff -f
