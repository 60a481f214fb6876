#!/bin/sh
# /sbin/init of what install.sh installed.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
exec </dev/console >/dev/console 2>&1
echo "NIDUS-ROOT-UP $(grep ' / ext4 ' /proc/mounts)"
echo "NIDUS-DEBIAN $(cat /etc/debian_version) packages=$(dpkg-query -W -f '${db:Status-Abbrev}\n' | grep -c '^ii') others=$(dpkg --audit | wc -l)"
perl -e 'print "NIDUS-PERL ", 6 * 7, "\n"'
mount -o remount,ro / && echo NIDUS-ROOT-RO
echo o >/proc/sysrq-trigger
sleep 60
