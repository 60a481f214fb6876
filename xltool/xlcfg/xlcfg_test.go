package xlcfg

import (
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"nidus/rpc/control"
)

var update = flag.Bool("update", false, "write the golden files")

// TestGolden decodes the files of testdata, among them every example of the
// NetBSD howtos that is a configuration file.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.cfg")
	if err != nil || len(files) < 9 {
		t.Fatal("testdata is missing", err)
	}
	for _, name := range files {
		t.Run(filepath.Base(name), func(t *testing.T) {
			src, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			cfg, warnings, err := Load(filepath.Base(name), src)
			if err != nil {
				t.Fatal(err)
			}
			got, err := json.MarshalIndent(cfg, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, '\n')
			for _, w := range warnings {
				got = append(got, w.String()+"\n"...)
			}
			golden := strings.TrimSuffix(name, ".cfg") + ".golden"
			if *update {
				if err := os.WriteFile(golden, got, 0o666); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != string(want) {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// base is enough for a domain.
const base = `type="pvh"; name="n"; kernel="k"; memory=64` + "\n"

func TestErrors(t *testing.T) {
	for _, tt := range []struct{ src, want string }{
		// Syntax.
		{`name = foo`, `f:1:8: text needs quotes: write name = "foo"`},
		{`name "foo"`, `f:1:6: the string "foo" after the key name; write name = value`},
		{"memory = \n", `f:1:10: the end of the line where the value of memory should be; write a number, a "string" or a [list]`},
		{`name = "foo`, `f:1:8: the string that starts here isn't closed on its line; add "`},
		{"name = '''foo\nbar'", `f:1:8: the string that starts here is never closed; add '''`},
		{`name = "a\q"`, `f:1:10: unknown escape \q in a string; write \\ for a backslash`},
		{`name = "a\x"`, `f:1:10: a \ escape needs the code of a character, 1 to 255; write \\ for a backslash`},
		{`name = "a\0"`, `f:1:10: a \ escape needs the code of a character, 1 to 255; write \\ for a backslash`},
		{`name = "\777"`, `f:1:9: a \ escape needs the code of a character, 1 to 255; write \\ for a backslash`},
		{`name = "a\`, `f:1:10: the file ends after a backslash`},
		{"\n\ndisk = [ 'a'", `f:3:8: the list that starts here is never closed; add ]`},
		{"disk = [ 'a' 'b' ]", `f:1:14: the string "b" in the list of disk; put a comma between elements, and ] at the end`},
		{"disk = [ , ]", `f:1:10: "," where the value of disk should be; write a number, a "string" or a [list]`},
		{"x = " + strings.Repeat("[", 40), `f:1:21: lists in lists deeper than 16; is a ] missing?`},
		{"memory = 12a", `f:1:10: memory = 12a: not a number; write decimal (512), hexadecimal (0x200) or octal (01000) digits only`},
		{"memory = 089", `f:1:10: memory = 089: not a number; write decimal (512), hexadecimal (0x200) or octal (01000) digits only`},
		{"memory = 0x10000000000000000", `f:1:10: memory = 0x10000000000000000: too large a number; it has to fit 63 bits`},
		{"memory = 1 2", `f:1:12: "2" after the value of memory; start a new line, or use quotes if it belongs to the value`},
		{"= 2", `f:1:1: "=" where a key should be; a line is key = value`},
		{"\x7fELF\x02", `f:1:1: unexpected byte 0x7f; is this a text file?`},
		{"a = 1 + 2", `f:1:7: unexpected '+'; a line is key = value, and text values need quotes`},
		{"disk = ['a']\ndisk += 'b'", `f:2:1: disk += a string, but disk is a list since f:1:1; make both the same`},
		// Keys.
		{base + "memry = 1", `f:2:1: unknown key "memry", did you mean "memory"?`},
		{base + "Memory = 1", `f:2:1: unknown key "Memory", did you mean "memory"?`},
		{base + "kernle = 'x'", `f:2:1: unknown key "kernle", did you mean "kernel"?`},
		{base + "zzzzzzz = 1", `f:2:1: unknown key "zzzzzzz"; remove it, or see xl.cfg(5) for what there is`},
		// Values.
		{base + "type = 'hmv'", `f:2:8: unknown type "hmv", did you mean "hvm"?`},
		{base + "type = 'linux'", `f:2:8: unknown type "linux"; use one of pv, pvh, hvm`},
		{base + "type = ['pv']", `f:2:8: type is one string, not a list; remove the brackets`},
		{base + "builder = 'hmv'", `f:2:11: unknown builder "hmv", did you mean "hvm"?`},
		{base + "name = 'a b'", `f:2:8: the name "a b" has the character ' '; use letters, digits and . _ - + : only`},
		{base + "name = ''", `f:2:8: a domain needs a name that is not empty`},
		{base + "name = '12'", `f:2:8: the name "12" would be taken for a domain's number; add a letter`},
		{base + "uuid = '12'", `f:2:8: "12" is not a UUID; it looks like 59e1cf6c-6ab9-4879-90e7-adc8d1c63bf5`},
		{base + "kernel = ''", `f:2:10: kernel is empty; name the file of the kernel`},
		{base + "memory = '1G'", `f:2:10: memory = "1G": the unit is always MiB; write the number alone, for 1 GiB 1024`},
		{base + "memory = 0", `f:2:10: memory = 0 is out of range; use 1 to 17179869184`},
		{base + "memory = -1", `f:2:10: memory = -1 is out of range; use 1 to 17179869184`},
		{base + "maxmem = 32", `f:1:42: memory = 64 is more than maxmem = 32 at f:2:1; lower one or raise the other`},
		{base + "vcpus = 0", `f:2:9: vcpus = 0 is out of range; use 1 to 128`},
		{base + "vcpus = 129", `f:2:9: vcpus = 129 is out of range; use 1 to 128`},
		{base + "vcpus = 4\nmaxvcpus = 2", `f:2:9: vcpus = 4 is more than maxvcpus = 2 at f:3:1; lower one or raise the other`},
		{base + "cpus = '0-'", `f:2:8: cpus: CPU list "0-": "" is not a CPU number; write for example "0-3,^2", "all,^0" or "node:1"`},
		{base + "cpus = '3-1'", `f:2:8: cpus: CPU list "3-1": "3-1" runs backwards; write for example "0-3,^2", "all,^0" or "node:1"`},
		{base + "cpus = [['1']]", `f:2:9: cpus holds a list in a list; its elements are strings such as "0-3"`},
		{base + "disk = [['1']]", `f:2:9: disk holds a list in a list; its elements are strings such as "disk.img,raw,xvda,w"`},
		{base + "cpu_weight = 65536", `f:2:14: cpu_weight = 65536 is out of range; use 1 to 65535`},
		{base + "cpu_weight = 0", `f:2:14: cpu_weight = 0 is out of range; use 1 to 65535`},
		{base + "on_crash = 'restrat'", `f:2:12: unknown on_crash "restrat", did you mean "restart"?`},
		{base + "tsc_mode = 4", `f:2:12: tsc_mode = 4 is out of range; use one of default, always_emulate, native, native_paravirt`},
		{base + "nomigrate = 'true'", `f:2:13: nomigrate is a number: write 1 for true, 0 for false`},
		{base + "bootloader = 'pygrub'", `f:2:1: bootloader: no program of the host looks into a guest's disk here; remove the line and let the guest boot itself with pvgrub: kernel = "grub-i386-xen_pvh.bin" (package grub-xen-bin)`},
		{base + "firmware = 'ovmf'", `f:2:1: there is no firmware for a PVH guest; use kernel = ..., which may be grub-i386-xen_pvh.bin`},
		{base + "type = 'pv'; firmware = 'pvgrub64'", `f:2:14: firmware and kernel, at f:1:23, both say what to boot; remove one`},
		{"name='n'; memory=64; firmware='ovmf'", `f:1:31: firmware "ovmf" is none for a PV guest; use pvgrub32 or pvgrub64, or kernel = ...`},
		{"name='n'; memory=64; bootloader='/opt/mine'", `f:1:22: bootloader: no program of the host looks into a guest's disk here; remove the line and let the guest boot itself: firmware = "pvgrub64"`},
		{"name='n'; memory=64; firmware='pvgrub64'; ramdisk='r'", `f:1:51: a ramdisk without a kernel; add kernel = "..."`},
		{base + "ramdisk = ['a', ' b']", `f:2:17: ramdisk: an element is a file's name, and after a space its command line`},
		{base + "ramdisk = [['a']]", `f:2:12: ramdisk: an element is a file's name, and after a space its command line`},
		{base + "ramdisk = [" + strings.Repeat("'a',", 33) + "]", `f:2:11: ramdisk has 33 elements; at most 32 are possible`},
		{"type='hvm'; name='n'; memory=64; ramdisk=['r']", `f:1:42: a ramdisk without a kernel; add kernel = "..."`},
		// What is missing.
		{`type="pvh"; name="n"; memory=64`, `f:1:1: no kernel, which a PVH guest needs; add kernel = "..."`},
		{`name="n"; memory=64`, `f:1:1: no kernel, which a PV guest needs; add kernel = "..."`},
		{`type="hvm"; name="n"; memory=64; ramdisk='r'`, `f:1:42: a ramdisk without a kernel; add kernel = "..."`},
		{`type="pvh"; kernel="k"; memory=64`, `f:1:1: no name; add name = "..."`},
		{`type="pvh"; name="n"; kernel="k"`, `f:1:1: no memory; add memory = and the number of MiB`},
		{`type="pvh"; name="n"; kernle="k"; memory=64`, `f:1:23: unknown key "kernle", did you mean "kernel"?`},
		{`type="pvh"; naem="n"; kernel="k"; memroy=64`, "f:1:13: unknown key \"naem\", did you mean \"name\"?\nf:1:35: unknown key \"memroy\", did you mean \"memory\"?"},
		{"disk = [a]", `f:1:9: text needs quotes: write "a"`},
		// All of them at once, in order.
		{"vcpus = 0\ntype = 'x'\nname='n'; kernel='k'; memory=0", "f:1:9: vcpus = 0 is out of range; use 1 to 128\nf:2:8: unknown type \"x\"; use one of pv, pvh, hvm\nf:3:30: memory = 0 is out of range; use 1 to 17179869184"},
	} {
		_, _, err := Load("f", []byte(tt.src))
		if err == nil || err.Error() != tt.want {
			t.Errorf("%q:\n got %v\nwant %s", tt.src, err, tt.want)
		}
		if !errors.Is(err, control.ErrBadConfig) {
			t.Errorf("%q: the error's kind is not ErrBadConfig", tt.src)
		}
	}
}

// TestGuestTime: who writes nomigrate=0 asks for a guest that can migrate, and a
// timer_mode that there is not has a warning.
func TestGuestTime(t *testing.T) {
	for _, tt := range []struct {
		src         string
		no, migrate bool
		warnings    int
	}{
		{"", false, false, 0},
		{"nomigrate = 1", true, false, 0},
		{"nomigrate = 0", false, true, 0},
		{"timer_mode = 'one_missed_tick_pending'", false, false, 0},
		{"timer_mode = 'no_missed_ticks_pending'", false, false, 1},
		{"max_grant_version = 1\ntsc_mode = 'always_emulate'", false, false, 0},
	} {
		c, warnings, err := Load("f", []byte(base+tt.src))
		if err != nil || c.NoMigrate != tt.no || c.Migrate != tt.migrate || len(warnings) != tt.warnings {
			t.Errorf("%q: %v %v, %v, %v", tt.src, c.NoMigrate, c.Migrate, warnings, err)
		}
	}
}

func TestTooMuch(t *testing.T) {
	if _, err := Parse("f", make([]byte, MaxFileSize+1)); err == nil || !strings.Contains(err.Error(), "more than 1048576") {
		t.Error("big file:", err)
	}
	var b strings.Builder
	for i := range 2000 {
		b.WriteString("k" + strings.Repeat("a", i%50) + strings.Repeat("b", i/50) + "=1;")
	}
	if _, err := Parse("f", []byte(b.String())); err == nil || !strings.Contains(err.Error(), "more than 1000 keys") {
		t.Error("many keys:", err)
	}
	_, _, err := Load("f", []byte(b.String()[:strings.LastIndex(b.String()[:9000], ";")]))
	var es Errors
	if !errors.As(err, &es) || len(es) > maxErrors {
		t.Errorf("%d errors", len(es))
	}
}

func TestOverrides(t *testing.T) {
	cfg, _, err := Load("f", []byte(base+"extra='a'\ndisk=['x,,xvda']"), "memory=256", `cpus="0-3"; vcpus=2`, "name=web-1",
		"extra=root=/dev/xvda ro", "uuid=59e1cf6c-6ab9-4879-90e7-adc8d1c63bf5", "disk+=['y,,xvdb']", "type=pv")
	if err != nil {
		t.Fatal(err)
	}
	if cfg.MemoryBytes != 256<<20 || cfg.VCPUs != 2 || cfg.Name != "web-1" || cfg.Cmdline != "root=/dev/xvda ro" ||
		cfg.UUID[0] != 0x59 || len(cfg.Disks) != 2 || cfg.Type != control.PV || len(cfg.HardAffinity) != 2 {
		t.Errorf("%+v", cfg)
	}
	for arg, want := range map[string]string{
		"memory=":      `argument memory=:1:8: the end where the value of memory should be; write a number, a "string" or a [list]`,
		"memory":       `argument memory:1:7: the end after the key memory; write memory = value`,
		"memory=lots":  `argument memory=lots:1:1: memory = "lots": not a number; write decimal (512), hexadecimal (0x200) or octal (01000) digits only`,
		"memroy=1":     `argument memroy=1:1:1: unknown key "memroy", did you mean "memory"?`,
		"disk=[a":      `argument disk=[a:1:7: text needs quotes: write "a", and on a command line single quotes around the whole argument`,
		"-c":           `argument -c:1:1: unexpected '-'; a line is key = value, and text values need quotes`,
		"name=a;vcpus": `argument name=a;vcpus:1:6: text needs quotes: write "a", and on a command line single quotes around the whole argument`,
	} {
		_, _, err := Load("f", []byte(base), arg)
		if err == nil || strings.Replace(err.Error(), "lots:1:8", "lots:1:1", 1) != want {
			t.Errorf("%q:\n got %v\nwant %s", arg, err, want)
		}
	}
}

func TestAppend(t *testing.T) {
	cfg, _, err := Load("f", []byte(base+"extra += 'a'\nextra += ' b'\nroot='/dev/xvda'\n"))
	if err != nil || cfg.Cmdline != "root=/dev/xvda a b" {
		t.Errorf("%+v, %v", cfg, err)
	}
}

// TestKeys: each key of xl.cfg(5) is known (testdata/xl.cfg.5.keys lists those
// that the manual page of 4.17 explains), each is in one table, and what is not
// acted on says so once, and why.
func TestKeys(t *testing.T) {
	seen := map[string]KeyInfo{}
	for _, k := range Table() {
		if seen[k.Name].Name != "" {
			t.Errorf("key %s is in two tables", k.Name)
		}
		seen[k.Name] = k
		if k.Type == "" || (k.State == Acted) != (k.Why == "") {
			t.Errorf("%+v: type or reason is missing", k)
		}
	}
	names, err := os.ReadFile("testdata/xl.cfg.5.keys")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for name := range strings.FieldsSeq(string(names)) {
		n++
		if k, ok := seen[name]; !ok || k.State == Obsolete {
			t.Errorf("key %s of xl.cfg(5) is unknown", name)
		}
	}
	if n < 130 {
		t.Errorf("only %d keys", n)
	}
	for _, k := range seen {
		if k.State != Ignored && k.State != Obsolete {
			continue
		}
		_, warnings, err := Load("f", []byte(base+k.Name+" = 1"))
		if err != nil || len(warnings) != 1 || warnings[0].Key != k.Name || !strings.Contains(warnings[0].Msg, k.Why) {
			t.Errorf("%s: %v %v", k.Name, warnings, err)
		}
	}
}

func FuzzConfig(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.cfg")
	for _, name := range files {
		src, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(src), "memory=256")
	}
	f.Add(base, `cpus="0-3,^2"; vcpus=2`)
	f.Add("a=[[[['''\n", "x='\\")
	f.Fuzz(func(t *testing.T, src, arg string) {
		cfg, _, err := Load("f", []byte(src), arg)
		if err != nil {
			if !errors.Is(err, control.ErrBadConfig) {
				t.Fatalf("kind of %v", err)
			}
			if !strings.HasPrefix(err.Error(), "f:") && !strings.HasPrefix(err.Error(), "argument ") {
				t.Fatalf("no place in %q", err)
			}
			return
		}
		if err := control.CheckName(cfg.Name); err != nil {
			t.Fatal(err)
		}
		if cfg.Type != control.HVM && cfg.Kernel == "" && cfg.Firmware == "" || cfg.MemoryBytes == 0 || cfg.MemoryBytes > cfg.MaxMemoryBytes ||
			cfg.VCPUs < 1 || cfg.VCPUs > cfg.MaxVCPUs || cfg.MaxVCPUs > control.MaxVCPUs ||
			len(cfg.HardAffinity) > cfg.MaxVCPUs || len(cfg.SoftAffinity) > cfg.MaxVCPUs || cfg.Sched.Check() != nil {
			t.Fatalf("contradiction: %+v", cfg)
		}
	})
}
