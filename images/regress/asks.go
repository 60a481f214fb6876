package regress

import (
	"time"

	"nidus/images/builder"
)

// storeAsks has two guests ask the store all the time. Linux may leave the store unsignalled (xenstore.Ring.Poll), once
// in some ten thousand requests.
func storeAsks(t *T) error {
	configs := map[string][]byte{}
	for _, name := range []string{"a", "b"} {
		configs[name+".cfg"] = linux(name, builder.Vmlinux, 1, "asks")
	}
	h, err := t.bootGuests(Boot{CPUs: 3}, []string{builder.Vmlinux, builder.Initrd}, configs)
	if err != nil {
		return err
	}
	for name := range configs {
		if _, err := h.mustDo("xl create %s", name); err != nil {
			return err
		}
	}
	for _, name := range []string{"a", "b"} {
		if err := h.Send("xl console " + name + "\r"); err != nil {
			return err
		}
		for range 100 { // lines; those of b are shown at once
			if _, err := h.expect(`ASKS \d+ after [^\r\n]*`, 30*time.Second); err != nil {
				return err
			}
		}
		if err := h.leave(); err != nil {
			return err
		}
	}
	return h.powerOff()
}
