package regress

import (
	"fmt"
	"time"

	"nidus/images/builder"
)

func restartControlPlane() Case {
	return Case{Name: "restart-control-plane", What: "the control plane is killed at 20 points under a running guest in a transaction that notices nothing",
		Needs: []string{builder.Vmlinux, builder.Initrd}, Timeout: 6 * time.Minute, Run: killControlPlane}
}

const killPoints = 20

// killControlPlane has debug key k kill the embedded control plane at the next
// of its points at which it may die. Then it is rebuilt from the core, says so
// in the log, and the shell is back.
func killControlPlane(t *T) error {
	h, err := t.bootGuests(Boot{CPUs: 3}, []string{builder.Vmlinux, builder.Initrd}, map[string][]byte{
		"good.cfg": linux("good", builder.Vmlinux, 1, "store"), "other.cfg": linux("other", builder.Vmlinux, 1, "tick")})
	if err != nil {
		return err
	}
	if err := h.Send("xl create -c good.cfg\r"); err != nil {
		return err
	}
	// A watch and an open transaction: it must not notice that either.
	if err := h.storeSays("waits"); err != nil {
		return err
	}
	if err := h.leave(); err != nil {
		return err
	}
	for i := range killPoints {
		if err := h.Send("xl debug-keys k\r"); err != nil {
			return err
		}
		// Something to die in the midst of.
		if err := h.Send("xl create other.cfg\r"); err != nil {
			return err
		}
		m, err := h.expect(`control plane: restarted after point (\d+)`, 30*time.Second)
		if err != nil {
			return fmt.Errorf("kill %d: %w", i+1, err)
		}
		if err := h.prompt(20 * time.Second); err != nil {
			return fmt.Errorf("kill at point %s: %w", m.Groups[1], err)
		}
		if _, err := h.xl("xl destroy other"); err != nil { // it may not be there
			return err
		}
		if err := h.gone("other", 20*time.Second); err != nil {
			return fmt.Errorf("kill at point %s: %w", m.Groups[1], err)
		}
		ds, err := h.list()
		if err != nil {
			return err
		}
		if len(ds) != 2 || ds[1].name != "good" {
			return fmt.Errorf("kill at point %s: domains %+v, want good", m.Groups[1], ds)
		}
	}
	if _, err := h.mustDo("xenstore-write /local/domain/1/data/go 1"); err != nil {
		return err
	}
	if err := h.Send("xl console good\r"); err != nil {
		return err
	}
	if err := h.storeSays("unbroken"); err != nil {
		return err
	}
	if err := h.leave(); err != nil {
		return err
	}
	if err := h.ticks("good", 3, 20*time.Second); err != nil {
		return err
	}
	return h.powerOff()
}

// storeSays waits for what the guest with test=store says, in its console.
func (h *Host) storeSays(what string) error {
	m, err := h.expect(`STORE (`+what+`|failed[^\r\n]*)`, time.Minute)
	if err == nil && m.Groups[1] != what {
		err = fmt.Errorf("the guest's xenstore: %s", m.Groups[1])
	}
	return err
}
