package regress

import (
	"fmt"
	"strings"
	"time"

	"nidus/images/builder"
)

func grantCase() Case {
	return Case{Name: "pvh-grants", What: "two guests share pages by mapping and copying; the pages outlive who granted them",
		Needs: []string{builder.Vmlinux, builder.Initrd}, Timeout: 3 * time.Minute, Run: func(t *T) error { return sharedPages(t, pvh) }}
}

// sharedPages has one Debian guest give pages and another take them, by Linux's gntalloc
// and gntdev. Then the giver is destroyed, and a third guest gets its memory: the taker
// still reads what it mapped. In the end no frame is missing.
func sharedPages(t *T, p personality) error {
	guest := func(name string) []byte {
		return p.guest(config(name, builder.Vmlinux, 1, 128, `ramdisk = "`+builder.Initrd+`"`, `extra = "console=hvc0 loglevel=4 panic=1 test=tick"`))
	}
	h, err := t.bootGuests(p.host(Boot{CPUs: 3, MemoryMiB: 768}), []string{builder.Vmlinux, builder.Initrd}, map[string][]byte{
		"giver.cfg": guest("giver"), "taker.cfg": guest("taker"), "third.cfg": guest("third")})
	if err != nil {
		return err
	}
	frames, err := h.guestFrames()
	if err != nil {
		return err
	}
	create := func(name, grants, wait string) (string, error) {
		if err := h.Send(fmt.Sprintf(`xl create -c %s.cfg extra="console=hvc0 loglevel=4 panic=1 test=grants grants=%s"`+"\r", name, grants)); err != nil {
			return "", err
		}
		m, err := h.expect(`GRANTS (`+wait+`|failed[^\r\n]*)`, time.Minute)
		if err != nil {
			return "", err
		}
		if strings.HasPrefix(m.Groups[1], "failed") {
			return "", fmt.Errorf("%s: %s", name, m.Groups[0])
		}
		return m.Groups[1], h.leave()
	}
	given, err := create("giver", "give,2,8", `given[\d,]+;`)
	if err != nil {
		return err
	}
	if _, err := create("taker", "take,1"+strings.TrimSuffix(strings.TrimPrefix(given, "given"), ";"), "taken"); err != nil {
		return err
	}
	if _, err := h.says("giver", `GRANTS answered`, 20*time.Second); err != nil {
		return err
	}
	for _, line := range []string{"xl destroy giver", "xl create third.cfg"} {
		if _, err := h.mustDo("%s", line); err != nil {
			return err
		}
	}
	if err := h.ticks("third", 2, time.Minute); err != nil {
		return err
	}
	if err := h.ticks("taker", 3, 20*time.Second); err != nil {
		return err
	}
	for _, name := range []string{"third", "taker"} {
		if _, err := h.mustDo("xl destroy %s", name); err != nil {
			return err
		}
	}
	if err := h.framesAgain(frames); err != nil {
		return err
	}
	return h.powerOff()
}
