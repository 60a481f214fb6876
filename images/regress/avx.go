package regress

import (
	"fmt"
	"time"

	"nidus/images/builder"
)

// avxGuests has the threads of two guests use the AVX registers at once.
func avxGuests(t *T, p personality) error {
	configs := map[string][]byte{}
	names := []string{"a", "b"}
	for _, name := range names {
		configs[name+".cfg"] = p.guest(linux(name, builder.Vmlinux, 2, "avx"))
	}
	h, err := t.bootGuests(p.host(Boot{CPUs: 3}), []string{builder.Vmlinux, builder.Initrd}, configs)
	if err != nil {
		return err
	}
	for _, name := range names {
		if _, err := h.mustDo("xl create %s.cfg", name); err != nil {
			return err
		}
	}
	for _, name := range names {
		said, err := h.says(name, `AVX ([^\r\n]*)[\r\n]+NIDUS-GUEST-TAINTED (\d+)`, time.Minute)
		if err != nil {
			return err
		}
		if said[1] != "kept" || said[2] != "0" {
			return fmt.Errorf("guest %s: %s; its kernel warns of %s (Linux's Documentation/admin-guide/tainted-kernels)", name, said[1], said[2])
		}
	}
	return h.powerOff()
}
