package xlcfg

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"nidus/rpc/control"
)

// asJSON shows what was parsed, or where and why not.
func asJSON(v any, err error) string {
	var bad *SpecError
	if errors.As(err, &bad) {
		if !errors.Is(err, control.ErrBadConfig) {
			return "kind of " + err.Error()
		}
		return string(rune('0'+bad.Off/10)) + string(rune('0'+bad.Off%10)) + " " + bad.Msg
	}
	b, _ := json.Marshal(v)
	return string(b)
}

func TestParseDisk(t *testing.T) {
	const guest = `{"target":"/dev/vg/guest-volume","format":"raw","vdev":{"name":"hda","number":768,"disk":0,"partition":0}}`
	const iso = `{"target":"/root/image.iso","format":"raw","vdev":{"name":"hdc","number":5632,"disk":2,"partition":0},"readonly":true,"cdrom":true}`
	for spec, want := range map[string]string{
		// The examples of xl-disk-configuration(5).
		"/dev/vg/guest-volume,,hda":                                                    guest,
		"/dev/vg/guest-volume,raw,hda,rw":                                              guest,
		"format=raw, vdev=hda, access=rw, target=/dev/vg/guest-volume":                 guest,
		"raw:/dev/vg/guest-volume,hda,w":                                               guest,
		"/root/image.iso,,hdc,cdrom":                                                   iso,
		"/root/image.iso,,hdc,,cdrom":                                                  iso,
		"/root/image.iso,raw,hdc,devtype=cdrom":                                        iso,
		"format=raw, vdev=hdc, access=ro, devtype=cdrom, target=/root/image.iso":       iso,
		"raw:/root/image.iso,hdc:cdrom,ro":                                             iso,
		",,hdc,cdrom":                                                                  `{"target":"","format":"raw","vdev":{"name":"hdc","number":5632,"disk":2,"partition":0},"readonly":true,"cdrom":true}`,
		"qcow2:a,xvdb1,r":                                                              `{"target":"a","format":"qcow2","vdev":{"name":"xvdb1","number":51729,"disk":1,"partition":1},"readonly":true}`,
		"vdev=xvdq,backend=dd,direct-io-safe,no-discard,untrusted,target=a, b=c,xvda ": `{"target":"a, b=c,xvda ","format":"raw","vdev":{"name":"xvdq","number":268439552,"disk":16,"partition":0},"backend":"dd","direct_io_safe":true,"no_discard":true,"untrusted":true}`,
		"iscsi:iqn.2001-05,xvda,w":                                                     `{"target":"iqn.2001-05","format":"raw","vdev":{"name":"xvda","number":51712,"disk":0,"partition":0},"script":"block-iscsi"}`,
		"a,vhd,d1p2,script=x":                                                          `{"target":"a","format":"vhd","vdev":{"name":"d1p2","number":51730,"disk":1,"partition":2},"script":"x"}`,

		// The old forms, as xm's documents and the howtos have them.
		"tap:aio:/a.img,xvda,w":                               `{"target":"/a.img","format":"raw","vdev":{"name":"xvda","number":51712,"disk":0,"partition":0}}`,
		"tap2:tapdisk:aio:/a,xvda,w":                          `{"target":"/a","format":"raw","vdev":{"name":"xvda","number":51712,"disk":0,"partition":0}}`,
		"tap:qcow2:/a,sda1,r":                                 `{"target":"/a","format":"qcow2","vdev":{"name":"sda1","number":2049,"disk":0,"partition":1},"readonly":true}`,
		"file:/n0/xen/foo-wd1,0x1,w":                          `{"target":"/n0/xen/foo-wd1","format":"raw","vdev":{"name":"0x1","number":1,"disk":1,"partition":0}}`,
		"phy:/dev/vnd0d,6:cdrom,r":                            `{"target":"/dev/vnd0d","format":"raw","vdev":{"name":"6","number":6,"disk":6,"partition":0},"readonly":true,"cdrom":true,"backendtype":"phy"}`,
		"/a,,/dev/xvda,ro,discard,trusted":                    `{"target":"/a","format":"raw","vdev":{"name":"/dev/xvda","number":51712,"disk":0,"partition":0},"readonly":true}`,
		"/a,qcow2,xvda,w,backendtype=qdisk,specification=xen": `{"target":"/a","format":"qcow2","vdev":{"name":"xvda","number":51712,"disk":0,"partition":0},"backendtype":"qdisk","specification":"xen"}`,

		"":                             `00 the disk is empty; write 'TARGET,FORMAT,VDEV,ACCESS', such as 'debian.img,raw,xvda,w', or remove it`,
		"phy:/dev/wd0e":                `13 the disk has no virtual device; write which one behind the format, such as ',xvda,w'`,
		",raw,xvda":                    `00 the disk has no target; name a file or a device, or write cdrom for an empty drive`,
		"a,raw,xvda,w,more":            `13 "more" is one part too many: target, format, vdev and access are there already`,
		"a,rwa,xvda,w":                 `02 unknown format "rwa", did you mean "raw"?`,
		"a,xvda,w":                     `02 unknown format "xvda"; use one of raw, qcow, qcow2, vhd, qed`,
		"a,raw,xvda,write":             `11 unknown access "write"; use one of r, ro, w, rw`,
		"file:a,xvda,w!":               `12 w!, sharing without a check, was xm's; write w`,
		"a,raw,hde,w":                  `06 there is no virtual device hde; use hda to hdd and partitions 0 to 63, or xvda to begin another row`,
		"a,raw,hda64":                  `06 there is no virtual device hda64; use hda to hdd and partitions 0 to 63, or xvda to begin another row`,
		"a,raw,fd0":                    `06 "fd0" is not a virtual device; write xvda, xvdb..., hda, sda, with a partition's number behind if it is one, or a number such as 0x301`,
		"a,raw,0xffffffff":             `06 "0xffffffff" is not a virtual device's number; use 0 to 0x1fffffff`,
		"a,raw,xvd":                    `06 "xvd" is not a virtual device; write xvda, xvdb..., hda, sda, with a partition's number behind if it is one, or a number such as 0x301`,
		"a,raw,xvda-1":                 `06 "xvda-1" is not a virtual device; write xvda, xvdb..., hda, sda, with a partition's number behind if it is one, or a number such as 0x301`,
		"a,raw,xvda,acces=r":           `11 unknown disk parameter "acces", did you mean "access"?`,
		"a,raw,hdc,cdrom,w":            `16 a CD can't be written; write r, or remove cdrom`,
		"vdev=xvda,vdev=xvdb,a":        `10 vdev is there twice; remove one`,
		"a,qcow2,xvda,backendtype=phy": `00 backendtype=phy reads no qcow2; remove one of them`,
		"a,raw,xvda,colo":              `11 unknown access "colo"; use one of r, ro, w, rw`,
		"a,raw,xvda,colo-host=h":       `11 colo-host: disks are not replicated here; remove it`,
	} {
		d, err := ParseDisk(spec)
		if got := asJSON(d, err); got != want {
			t.Errorf("%q:\n got %s\nwant %s", spec, got, want)
		}
	}
}

func TestParseVIF(t *testing.T) {
	for spec, want := range map[string]string{
		"mac=00:16:3E:74:3d:76,model=rtl8139,bridge=xenbr0":                                                                    `{"mac":"00:16:3e:74:3d:76","bridge":"xenbr0","model":"rtl8139","devid":-1}`,
		"type=vif,ip=10.0.0.5 fd00::1/64,script=vif-route,gatewaydev=eth0,backend=net,devid=3,mtu=9000,vifname=web0,untrusted": `{"mac":"00:00:00:00:00:00","gatewaydev":"eth0","type":"vif","vifname":"web0","script":"vif-route","ip":["10.0.0.5/32","fd00::1/64"],"backend":"net","devid":3,"mtu":9000,"untrusted":true}`,
		"rate=10Mb/s":      `{"mac":"00:00:00:00:00:00","rate":{"bytes":62500,"interval_ns":50000000},"devid":-1}`,
		"rate=250KB/s":     `{"mac":"00:00:00:00:00:00","rate":{"bytes":12500,"interval_ns":50000000},"devid":-1}`,
		"rate=1MB/s@20ms":  `{"mac":"00:00:00:00:00:00","rate":{"bytes":20000,"interval_ns":20000000},"devid":-1}`,
		"rate=1MB/s@20000": `{"mac":"00:00:00:00:00:00","rate":{"bytes":20000,"interval_ns":20000000},"devid":-1}`,
		"rate=2GB/s@1s":    `{"mac":"00:00:00:00:00:00","rate":{"bytes":2000000000,"interval_ns":1000000000},"devid":-1}`,

		"mac=00:16:3e:74:3d":             `04 mac="00:16:3e:74:3d" is not an Ethernet address; it looks like 00:16:3e:12:34:56`,
		"mac=01:16:3e:74:3d:00":          `04 mac=01:16:3e:74:3d:00 is a group's address; an interface's has an even first byte, such as 00:16:3e:12:34:56`,
		"mac=00:16:3e:74:3d:0g":          `04 mac="00:16:3e:74:3d:0g" is not an Ethernet address; it looks like 00:16:3e:12:34:56`,
		"00:16:3e:74:3d:00":              `00 "00:16:3e:74:3d:00" looks like an address; write mac=00:16:3e:74:3d:00`,
		"bridge=a, brigde=b":             `10 unknown vif parameter "brigde", did you mean "bridge"?`,
		"bridge=a,bridge=b":              `09 bridge is there twice; remove one`,
		"bridge=":                        `00 bridge= has no value; write one, or remove it`,
		"xenbr0":                         `00 "xenbr0" has no =; parts are key=value, such as bridge=xenbr0`,
		"type=iomeu":                     `05 unknown type "iomeu", did you mean "ioemu"?`,
		"type=vif,model=e1000":           `00 model=e1000 is of an emulated interface, and type=vif asks for none; remove one`,
		"rate=fast":                      `05 rate="fast" is not a rate; it looks like 10Mb/s (bits), 250KB/s (bytes) or 1MB/s@20ms`,
		"rate=10Mb/s@":                   `05 rate="10Mb/s@" is not a rate; it looks like 10Mb/s (bits), 250KB/s (bytes) or 1MB/s@20ms`,
		"rate=1b/s":                      `05 rate=1b/s allows 0 bytes in each 50ms; choose an interval in which it is 1 to 4294967295`,
		"rate=4000000000GB/s":            `05 rate=4000000000GB/s allows 200000000000000000 bytes in each 50ms; choose an interval in which it is 1 to 4294967295`,
		"ip=10.0.0":                      `03 ip="10.0.0" is not an address; it looks like 192.168.1.5, 192.168.1.5/24 or fd00::5`,
		"mtu=5":                          `04 mtu=5 is less than the 68 bytes that IP needs`,
		"mtu=big":                        `04 mtu="big": not a number; write decimal (512), hexadecimal (0x200) or octal (01000) digits only`,
		"devid=65536":                    `06 devid=65536 is out of range; use 0 to 65535`,
		"vifname=a-name-too-long-for-it": `08 vifname="a-name-too-long-for-it" can't be an interface's name: at most 15 characters, no blank and no /`,
	} {
		v, err := ParseVIF(spec)
		if got := asJSON(v, err); got != want {
			t.Errorf("%q:\n got %s\nwant %s", spec, got, want)
		}
	}
}

func TestParsePCI(t *testing.T) {
	const seized = `{"domain":0,"bus":54,"device":0,"function":0,"vslot":32,"seize":true}`
	for spec, want := range map[string]string{
		"36:00.0@1f,seize=1":                          strings.Replace(seized, "32", "31", 1),
		"36:00.0,vslot=1f,seize=1":                    strings.Replace(seized, "32", "31", 1),
		"bdf=36:00.0,vslot=0x1f,seize=1":              strings.Replace(seized, "32", "31", 1),
		"ffff:00:1f.*,permissive=1,rdm_policy=strict": `{"domain":65535,"bus":0,"device":31,"function":0,"all_functions":true,"vslot":-1,"permissive":true,"rdm_policy":"strict"}`,
		"name=nic,power_mgmt=1,msitranslate=0":        `{"domain":0,"bus":0,"device":0,"function":0,"name":"nic","vslot":-1,"power_mgmt":true}`,

		"":                    `00 "" is not a PCI address; it looks like 00:06.0 or 0000:00:06.0, as lspci prints it`,
		"00:20.0":             `00 "00:20.0" is not a PCI address; it looks like 00:06.0 or 0000:00:06.0, as lspci prints it`,
		"00:06.8":             `00 "00:06.8" is not a PCI address; it looks like 00:06.0 or 0000:00:06.0, as lspci prints it`,
		"00:06":               `00 "00:06" is not a PCI address; it looks like 00:06.0 or 0000:00:06.0, as lspci prints it`,
		"00:06.0@99":          `08 vslot="99" is not a device's number; use 0 to 1f, which is hexadecimal`,
		"00:06.0,permisive=1": `08 unknown pci parameter "permisive", did you mean "permissive"?`,
		"00:06.0,seize=yes":   `14 seize="yes" is neither 0 nor 1`,
		"00:06.0,seize":       `08 "seize" has no =; behind the address, parts are key=value, such as permissive=1`,
		"00:06.0,name=x":      `00 either an address, such as 00:06.0, or name= has to say which device`,
		"seize=1":             `00 either an address, such as 00:06.0, or name= has to say which device`,
	} {
		d, err := ParsePCI(spec)
		if got := asJSON(d, err); got != want {
			t.Errorf("%q:\n got %s\nwant %s", spec, got, want)
		}
	}
}

// TestDevicePlaces: an error inside a string names the byte, if the string is
// written as it is meant.
func TestDevicePlaces(t *testing.T) {
	for src, want := range map[string]string{
		"disk = [ 'a,raw,xvda,w', 'b,rwa,xvdb' ]":              `f:2:29: disk: unknown format "rwa", did you mean "raw"?`,
		"disk = '''b,rwa,xvdb'''":                              `f:2:13: disk: unknown format "rwa", did you mean "raw"?`,
		"disk = 'b\\x2crwa,xvdb'":                              `f:2:8: disk: unknown format "rwa", did you mean "raw"?`,
		"disk = ['a,,xvda','b,,d0']":                           `f:2:20: disk: two disks are the same virtual device, number 0xca00: xvda and d0; change one`,
		"vif = ['mac=00:16:3e:00:00:01']*2":                    `f:2:32: unexpected '*'; a line is key = value, and text values need quotes`,
		"vif = ['mac=00:16:3e:00:00:01','mac=00:16:3E:0:0:1']": `f:2:33: vif: two interfaces have the address 00:16:3e:00:00:01; change one`,
		"vif = ['devid=1',\n 'devid=1']":                       `f:3:3: vif: two interfaces have devid=1; change one`,
		"pci = ['00:06.0', '0000:00:06.0']":                    `f:2:20: pci: the device is there twice; remove one`,
	} {
		_, _, err := Load("f", []byte(base+src))
		if err == nil || err.Error() != want {
			t.Errorf("%q:\n got %v\nwant %s", src, err, want)
		}
	}
}

// TestVDevNumbers compares with xen-vbd-interface(7), and with the inverse.
func TestVDevNumbers(t *testing.T) {
	for name, want := range map[string]uint32{
		"xvda": 51712, "xvda1": 51713, "xvdp15": 51967, "xvdq": 1<<28 | 16<<8, "xvda16": 1<<28 | 16, "xvdaa": 1<<28 | 26<<8, "xvdbgqcv": 1<<28 | (1<<20-1)<<8,
		"hda": 768, "hda1": 769, "hdb": 832, "hdc": 5632, "hdd63": 22<<8 | 127, "sda": 2048, "sda1": 2049, "sdp15": 2303, "d0": 51712, "d0p1": 51713, "/dev/xvdb": 51728,
	} {
		v, err := parseVDev(name, 0)
		if err != nil || v.Number != want {
			t.Errorf("%s: %d, %v, want %d", name, v.Number, err, want)
			continue
		}
		if d, p := vdevPlace(v.Number); d != v.Disk || p != v.Partition {
			t.Errorf("%s: number %d is %d:%d, want %d:%d", name, v.Number, d, p, v.Disk, v.Partition)
		}
	}
	if _, err := parseVDev("xvdbgqcw", 0); err == nil {
		t.Error("a disk beyond the last")
	}
}

func fuzzSpec[T any](f *testing.F, parse func(string) (T, error), check func(*testing.T, T), seeds ...string) {
	for _, s := range seeds {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, spec string) {
		v, err := parse(spec)
		var bad *SpecError
		switch {
		case err == nil:
			check(t, v)
		case !errors.As(err, &bad):
			t.Fatalf("%q: type of %v", spec, err)
		case bad.Off < 0 || bad.Off > len(spec) || bad.Msg == "":
			t.Fatalf("%q: byte %d: %q", spec, bad.Off, bad.Msg)
		}
	})
}

func FuzzDisk(f *testing.F) {
	fuzzSpec(f, ParseDisk, func(t *testing.T, d Disk) {
		if d.VDev.Name == "" || d.VDev.Number >= 1<<29 || d.Format == "" || d.CDROM && !d.ReadOnly || d.Target == "" && !d.CDROM {
			t.Fatalf("contradiction: %+v", d)
		}
	}, "file:/n0/xen/foo-wd0,0x0,w", "phy:x,6:cdrom,r", "a,,xvdq,backend=b,target= x,y", "format=qcow2,vdev=d3p4,a")
}

func FuzzVIF(f *testing.F) {
	fuzzSpec(f, ParseVIF, func(t *testing.T, v VIF) {
		if v.MAC[0]&1 != 0 || v.DevID < -1 || v.DevID > 65535 || v.Rate.Bytes > 1<<32-1 || v.Rate.Bytes > 0 && v.Rate.Interval <= 0 {
			t.Fatalf("contradiction: %+v", v)
		}
	}, "", "mac=aa:00:00:50:02:f0, bridge=bridge0", "rate=1MB/s@20ms,ip=1.2.3.4 ::1,mtu=1500")
}

func FuzzPCI(f *testing.F) {
	fuzzSpec(f, ParsePCI, func(t *testing.T, d PCI) {
		if d.Device > 31 || d.Function > 7 || d.VSlot < -1 || d.VSlot > 31 {
			t.Fatalf("contradiction: %+v", d)
		}
		if again, err := ParsePCI(d.BDF()); d.Name == "" && (err != nil || again.BDF() != d.BDF()) {
			t.Fatalf("%s: %v", d.BDF(), err)
		}
	}, "0000:00:06.0", "00:06.*@1,permissive=1", "name=x,seize=0")
}
