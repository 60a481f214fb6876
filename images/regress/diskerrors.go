package regress

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"nidus/images/builder"
	"nidus/images/debian"
)

// failing are QEMU's arguments for a disk whose file fails as blkdebug's rules say
// (QEMU's docs/devel/blkdebug.txt).
func failing(id, file string, rules ...string) []string {
	o := fmt.Sprintf("if=none,id=%s,driver=raw,cache.direct=off,file.driver=blkdebug,file.image.driver=file,file.image.filename=%s", id, file)
	for _, r := range rules {
		o += ",file." + r
	}
	return []string{"-drive", o, "-device", "virtio-blk-pci,drive=" + id + ",rerror=report,werror=report"}
}

// diskErrors has a guest use a disk with bad places, one that goes, and an image that
// can't grow: it gets errors there and nowhere else, and the console has a line for each disk.
func diskErrors(t *T) error {
	if err := debian.Install(t.Say, "qemu-utils"); err != nil {
		return err
	}
	for _, name := range []string{"a.img", "b.img"} {
		if err := errors.Join(t.file(name, nil), os.Truncate(filepath.Join(t.dir, name), 4<<20)); err != nil {
			return err
		}
	}
	if _, err := t.qemuImg("create", "-q", "-f", "qcow2", "t.img", "16M"); err != nil {
		return err
	}
	if err := t.grow("t.img", 512<<10); err != nil {
		return err
	}
	const eio, enospc = 5, 28
	args := failing("a", "a.img",
		"inject-error.0.event=read_aio", "inject-error.0.sector=200", fmt.Sprintf("inject-error.0.errno=%d", eio),
		"inject-error.1.event=write_aio", "inject-error.1.sector=400", fmt.Sprintf("inject-error.1.errno=%d", enospc))
	args = append(args, failing("b", "b.img", "set-state.0.event=flush_to_disk", "set-state.0.state=1", "set-state.0.new_state=2",
		"inject-error.0.event=read_aio", "inject-error.0.state=2", "inject-error.1.event=write_aio", "inject-error.1.state=2")...)
	args = append(args, secondDisk("t.img")...)
	cfg := config("g", builder.Vmlinux, 1, 256, fmt.Sprintf("ramdisk = %q\ndisk = [ 'phy:/dev/vda,xvda,w', 'phy:/dev/vdb,xvdb,w', 'format=qcow2,vdev=xvdc,access=rw,target=/dev/vdc' ]", builder.RootInitrd),
		`extra = "console=hvc0 loglevel=1 panic=1 test=errors"`)
	h, err := t.bootGuests(Boot{CPUs: 3, Args: args}, []string{builder.Vmlinux, builder.RootInitrd}, map[string][]byte{"g.cfg": cfg})
	if err != nil {
		return err
	}
	if err := h.Send("xl create -c g.cfg\r"); err != nil {
		return err
	}
	m, err := h.expect(`NIDUS-DISK-END`, 2*time.Minute)
	if err != nil {
		return err
	}
	var got []string
	for _, l := range regexp.MustCompile(`NIDUS-DISK ([^\r\n]*)`).FindAllStringSubmatch(m.Before, -1) {
		got = append(got, l[1])
	}
	times := func(n int, lines ...string) string { return strings.Repeat(strings.Join(lines, "; ")+"; ", n) }
	want := times(3, "xvda read 25 error", "xvda write 50 error", "xvda read 24 ok", "xvda write 51 ok") +
		times(1, "xvdb write 0 ok", "xvdb read 0 ok") + times(3, "xvdb read 0 error", "xvdb write 9 error") +
		times(2, "xvdc write 0 error") + "xvdc read 0 ok; xvda read 24 ok"
	if is := strings.Join(got, "; "); is != want {
		return fmt.Errorf("the guest had %q, not %q", is, want)
	}
	if lines := regexp.MustCompile(`disk \S+.* of d1: [^\n]*`).FindAllString(m.Before, -1); len(lines) != 3 {
		return fmt.Errorf("the console has %q, not a line for each of three disks", lines)
	}
	if err := h.prompt(time.Minute); err != nil {
		return err
	}
	return h.powerOff()
}
