package regress

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"nidus/images/builder"
)

// The disks of the hostile frontends (images/guests/bench/fronts.go), and how many of
// them are closed because of a breach: not one whose guest removes its nodes.
const frontDisks, frontsClosed = 23, 16

func hostileFronts() Case {
	return Case{Name: "hostile-frontends", What: "a guest's block frontends break the protocol in each way: their devices are closed, and its neighbour's disk goes on",
		Needs: []string{builder.Vmlinux, builder.Initrd, builder.RootInitrd, builder.RootImage}, Timeout: 5 * time.Minute, Run: frontBreaches}
}

var frontClosed = regexp.MustCompile(`vbd \d+ of d\d+ closed: [^\r\n]*; it stays closed`)

// frontBreaches runs a Debian guest whose frontends are a program's, beside one that works
// on its disk.
func frontBreaches(t *T) error {
	var disks []string
	for i := range frontDisks {
		disks = append(disks, fmt.Sprintf("'ram:1M,raw,xvd%c,w'", 'a'+i))
	}
	h, err := t.bootGuests(Boot{CPUs: 3, MemoryMiB: 1024}, []string{builder.Vmlinux, builder.Initrd, builder.RootInitrd, builder.RootImage}, map[string][]byte{
		"g.cfg": diskGuest(1, "work", rootDisk),
		"bad.cfg": config("bad", builder.Vmlinux, 1, 128, `ramdisk = "`+builder.Initrd+`"`, `disk = [ `+strings.Join(disks, ", ")+` ]`,
			`extra = "console=hvc0 loglevel=4 panic=1 test=fronts"`)})
	if err != nil {
		return err
	}
	if _, err := h.mustDo("xl create g.cfg"); err != nil {
		return err
	}
	if err := h.ticks("g", 2, time.Minute); err != nil {
		return err
	}
	frames, err := h.guestFrames()
	if err != nil {
		return err
	}
	goroutines, err := h.goroutines()
	if err != nil {
		return err
	}
	if _, err := h.mustDo("xl dmesg -c"); err != nil {
		return err
	}
	if err := h.Send("xl create -c bad.cfg\r"); err != nil {
		return err
	}
	m, err := h.expect(`FRONT (floods|failed[^\r\n]*)`, 2*time.Minute)
	if err != nil {
		return err
	}
	if m.Groups[1] != "floods" {
		return fmt.Errorf("the hostile guest: %s", m.Groups[0])
	}
	if err := h.leave(); err != nil {
		return err
	}
	log, err := h.mustDo("xl dmesg")
	if err != nil {
		return err
	}
	if n := len(frontClosed.FindAllString(log, -1)); n != frontsClosed {
		return fmt.Errorf("the log tells of %d devices that were closed, not of %d: %q", n, frontsClosed, log)
	}
	if err := h.ticks("g", 3, 20*time.Second); err != nil {
		return err
	}
	if err := h.watch(false); err != nil { // the shell, while a disk is flooded
		return err
	}
	if err := h.ticks("g", 2, 20*time.Second); err != nil {
		return err
	}
	if now, err := h.guestFrames(); err != nil || now != frames {
		return fmt.Errorf("frames of guests are now %q, %q before: %v", now, frames, err)
	}
	if now, err := h.goroutines(); err != nil || now > goroutines+2 {
		return fmt.Errorf("%d goroutines before, %d after: %v", goroutines, now, err)
	}
	return h.powerOff()
}
