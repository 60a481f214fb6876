package regress

import (
	"fmt"
	"time"

	"nidus/images/builder"
)

// turn is a command of xl's ("": none), and then one of the guest's shell that has to
// print what matches want.
type turn struct{ xl, guest, want string }

// inTurn runs commands here and on the console of the guest g, which has a shell.
func (h *Host) inTurn(all []turn) error {
	for _, s := range all {
		if s.xl != "" {
			if _, err := h.mustDo("%s", s.xl); err != nil {
				return err
			}
		}
		if err := h.Send("xl console g\r"); err != nil {
			return err
		}
		if err := h.Send("\r" + s.guest + "\r"); err != nil {
			return err
		}
		if _, err := h.expect(s.want, 40*time.Second); err != nil {
			return fmt.Errorf("after %q: %w", s.xl, err)
		}
		if err := h.leave(); err != nil {
			return err
		}
	}
	return nil
}

// blockHotplug gives a guest a disk, and takes it away: with its consent, and without.
func blockHotplug(t *T) error {
	h, err := t.bootGuests(Boot{CPUs: 3}, []string{builder.Vmlinux, builder.RootInitrd, builder.RootImage},
		map[string][]byte{"g.cfg": diskGuest(1, "shell", rootDisk)})
	if err != nil {
		return err
	}
	if err := h.rootUp(); err != nil {
		return err
	}
	err = h.inTurn([]turn{
		{"xl block-attach g ram:8M,raw,xvdb,w", "until [ -b /dev/xvdb ]; do sleep 1; done; blockdev --getsize64 /dev/xvdb", `\n8388608\r?\n`},
		{"", "dd if=/bin/busybox of=/dev/xvdb bs=65536 count=16 2>/dev/null; sync; cmp -n 1048576 /bin/busybox /dev/xvdb && echo same$((1+1))", `same2`},
		{"xl block-detach g xvdb", "while [ -b /dev/xvdb ]; do sleep 1; done; echo gone$((1+1))", `gone2`},
		{"xl block-attach g ram:4M,raw,xvdc,r", "until [ -b /dev/xvdc ]; do sleep 1; done; cat /sys/block/xvdc/ro", `\n1\r?\n`},
		{"xl block-detach --force g xvdc", "dd if=/dev/xvda of=/dev/null bs=1024k count=4 2>/dev/null && echo alive$((1+1))", `alive2`},
	})
	if err != nil {
		return err
	}
	out, err := h.mustDo("xl block-list g")
	if err != nil {
		return err
	}
	if !contains(out, `xvda +0 +1 +51712 +4 `) || contains(out, "xvd[bc]") {
		return fmt.Errorf("block-list: %q", out)
	}
	if _, err := h.mustDo("xl destroy g"); err != nil {
		return err
	}
	return h.powerOff()
}
