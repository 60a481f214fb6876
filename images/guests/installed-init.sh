#!/bin/sh
# /sbin/init of what install.sh installed.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
exec </dev/console >/dev/console 2>&1
echo "NIDUS-ROOT-UP $(grep ' / ext4 ' /proc/mounts)"
echo "NIDUS-DEBIAN $(cat /etc/debian_version) packages=$(dpkg-query -W -f '${db:Status-Abbrev}\n' | grep -c '^ii') others=$(dpkg --audit | wc -l)"
mount -o remount,ro / && echo NIDUS-ROOT-RO
# minbase has no poweroff: reboot(2), LINUX_REBOOT_CMD_POWER_OFF.
exec perl -e 'print "NIDUS-PERL ", 6 * 7, "\n"; syscall(169, 0xfee1dead, 672274793, 0x4321fedc)'
