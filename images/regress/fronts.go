package regress

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"nidus/images/builder"
)

// The disks and interfaces of the hostile frontends (images/guests/bench/fronts.go and
// netfronts.go), and how many of them are closed because of a breach: not one whose guest
// removes its nodes, and perhaps the one that takes its pages back in mid-transfer.
const (
	frontDisks, frontVIFs   = 23, 16
	disksClosed, vifsClosed = 16, 11
)

func hostileFronts() Case {
	return Case{Name: "hostile-frontends", What: "a guest's block and network frontends break the protocols in each way: their devices are closed, and its neighbours' disk and network go on",
		Needs: []string{builder.Vmlinux, builder.Initrd, builder.RootInitrd, builder.RootImage}, Timeout: 5 * time.Minute, Run: frontBreaches}
}

var frontClosed = regexp.MustCompile(`(vbd|vif) \d+ of d\d+ closed: [^\r\n]*; it stays closed`)

// frontBreaches runs a Debian guest whose frontends are a program's, beside one that works
// on its disk and one that sends ARP requests from one interface to the other.
func frontBreaches(t *T) error {
	var disks []string
	for i := range frontDisks {
		disks = append(disks, fmt.Sprintf("'ram:1M,raw,xvd%c,w'", 'a'+i))
	}
	h, err := t.bootGuests(Boot{CPUs: 3, MemoryMiB: 1024}, []string{builder.Vmlinux, builder.Initrd, builder.RootInitrd, builder.RootImage}, map[string][]byte{
		"g.cfg": diskGuest(1, "work", rootDisk),
		"bad.cfg": config("bad", builder.Vmlinux, 1, 128, `ramdisk = "`+builder.Initrd+`"`, `disk = [ `+strings.Join(disks, ", ")+` ]`,
			`vif = [ `+strings.Repeat("'', ", frontVIFs-1)+`'' ]`, `extra = "console=hvc0 loglevel=4 panic=1 test=fronts"`),
		"n.cfg": netGuest("n", "10.0.0.1/24", "'', ''")})
	if err != nil {
		return err
	}
	if _, err := h.mustDo("xl create g.cfg"); err != nil {
		return err
	}
	if err := h.ticks("g", 2, time.Minute); err != nil {
		return err
	}
	if err := h.startNet("n"); err != nil {
		return err
	}
	if err := h.arps(1, "ip link set eth1 up; ip addr add 10.0.0.2/24 dev eth1; "); err != nil {
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
	closed := map[string]int{}
	for _, m := range frontClosed.FindAllStringSubmatch(log, -1) {
		closed[m[1]]++
	}
	if d, v := closed["vbd"]-disksClosed, closed["vif"]-vifsClosed; d < 0 || d > 1 || v < 0 || v > 1 {
		return fmt.Errorf("the log tells of %v devices that were closed, not of %d and %d: %q", closed, disksClosed, vifsClosed, log)
	}
	if err := h.ticks("g", 3, 20*time.Second); err != nil {
		return err
	}
	if err := h.arps(2, ""); err != nil {
		return err
	}
	if err := h.watch(false); err != nil { // the shell, while a disk and an interface are flooded
		return err
	}
	if err := h.arps(3, ""); err != nil {
		return err
	}
	if err := h.ticks("g", 2, 20*time.Second); err != nil {
		return err
	}
	if err := h.framesAgain(frames); err != nil {
		return err
	}
	if err := h.goroutinesAgain(goroutines); err != nil {
		return err
	}
	return h.powerOff()
}

// arps has the guest n ask by its first interface who has the address of its second one, on
// the bridge where the hostile interfaces are. Its number tells the answer from those before,
// which a console shows again.
func (h *Host) arps(number int, before string) error {
	_, err := h.inGuest("n", fmt.Sprintf(`%sarping -D -c 2 -I eth0 10.0.0.2 | sed -n 's/^Received \([0-9]*\).*/answers=\1 to %d/p'`, before, number),
		fmt.Sprintf(`answers=[12] to %d`, number), 20*time.Second)
	return err
}
