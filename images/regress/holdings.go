package regress

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// holdings are what of a host is in use.
type holdings struct {
	freeMiB    int
	frames     string // of guests
	things     string // event channels, grants, xenstore
	goroutines int
}

var thingsInUse = regexp.MustCompile(`in use: ([^\n]*)`)

// holdings counts what is in use (debug keys e, g and m).
func (h *Host) holdings() (u holdings, err error) {
	if u.goroutines, err = h.goroutines(); err != nil {
		return u, err
	}
	if u.frames, err = h.guestFrames(); err != nil {
		return u, err
	}
	if _, err = h.mustDo("xl debug-keys e"); err != nil {
		return u, err
	}
	out, err := h.mustDo("xl dmesg")
	if err != nil {
		return u, err
	}
	all := thingsInUse.FindAllStringSubmatch(out, -1)
	if len(all) == 0 {
		return u, fmt.Errorf("%w: debug key e printed nothing", errNotYet)
	}
	u.things = strings.TrimSpace(all[len(all)-1][1])
	u.freeMiB, err = h.info("free_memory")
	return u, err
}

// left says what is in use after that was not before.
func (u holdings) left(after holdings) error {
	switch {
	case after.frames != u.frames:
		return fmt.Errorf("frames of guests are now %q, %q before", after.frames, u.frames)
	case after.things != u.things:
		return fmt.Errorf("in use are now %q, %q before", after.things, u.things)
	case after.goroutines > u.goroutines+2:
		return fmt.Errorf("%d goroutines, %d before", after.goroutines, u.goroutines)
	case after.freeMiB < u.freeMiB-heapSlack:
		return fmt.Errorf("%d MiB are free, %d before", after.freeMiB, u.freeMiB)
	}
	return nil
}

var guestKinds = regexp.MustCompile(`frames: .*(guest \d+, special \d+), .*(table \d+)`)

// guestFrames tells how many frames are guests': memory, shared pages, nested page
// tables (debug key m).
func (h *Host) guestFrames() (string, error) {
	if _, err := h.mustDo("xl debug-keys m"); err != nil {
		return "", err
	}
	out, err := h.mustDo("xl dmesg")
	if err != nil {
		return "", err
	}
	all := guestKinds.FindAllStringSubmatch(out, -1)
	if len(all) == 0 {
		return "", fmt.Errorf("%w: debug key m printed no frames", errNotYet)
	}
	last := all[len(all)-1]
	return last[1] + ", " + last[2], nil
}

// framesAgain checks that guests have the frames that they had.
func (h *Host) framesAgain(before string) error {
	if now, err := h.guestFrames(); err != nil || now != before {
		return fmt.Errorf("frames of guests are now %q, %q before: %v", now, before, err)
	}
	return nil
}

var goroutineCount = regexp.MustCompile(`goroutines: (\d+)`)

// goroutines counts the image's goroutines by debug key g.
func (h *Host) goroutines() (int, error) {
	if _, err := h.mustDo("xl debug-keys g"); err != nil {
		return 0, err
	}
	out, err := h.mustDo("xl dmesg")
	if err != nil {
		return 0, err
	}
	all := goroutineCount.FindAllStringSubmatch(out, -1)
	if len(all) == 0 {
		return 0, fmt.Errorf("%w: debug key g printed no line \"goroutines: N\"", errNotYet)
	}
	return strconv.Atoi(all[len(all)-1][1])
}

// goroutinesAgain checks that no more goroutines are there than were, but for what runs at
// the same time.
func (h *Host) goroutinesAgain(before int) error {
	if now, err := h.goroutines(); err != nil || now > before+2 {
		return fmt.Errorf("%d goroutines before, %d after: %v", before, now, err)
	}
	return nil
}

// heapSlack is what Go's heap may have grown by since, in MiB. A frame that is
// really lost is lost again each time: create-destroy-200 finds it.
const heapSlack = 6

// freeAgain checks that the host has the free memory back that it had.
func (h *Host) freeAgain(before int) error {
	var now int
	for range 20 {
		var err error
		if now, err = h.info("free_memory"); err != nil {
			return err
		}
		if now >= before-heapSlack {
			return nil
		}
		time.Sleep(250 * time.Millisecond)
	}
	return fmt.Errorf("%d MiB are free, %d were before the domain", now, before)
}
