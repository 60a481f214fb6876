package regress

import (
	"fmt"
	"time"

	"nidus/images/builder"
)

// compressions boots one kernel in all its packings, one after the other. The
// host has each once: the second packing of a kernel is another file.
func compressions(t *T) error {
	configs := map[string][]byte{}
	var names []string
	for _, p := range builder.Packings {
		elf, bzImage, err := t.Repacked(p)
		if err != nil {
			return err
		}
		for _, k := range []struct {
			name string
			data []byte
		}{{p.Name + "-elf", elf}, {p.Name + "-bz", bzImage}} {
			configs[k.name] = k.data
			configs[k.name+".cfg"] = linux(k.name, k.name, 1, "shell")
			names = append(names, k.name)
		}
	}
	h, err := t.bootGuests(Boot{CPUs: 3, MemoryMiB: 2560}, []string{builder.Initrd}, configs)
	if err != nil {
		return err
	}
	for _, n := range names {
		if err := h.bootsPacked(n); err != nil {
			return fmt.Errorf("%s: %w", n, err)
		}
	}
	return h.powerOff()
}

// bootsPacked creates a domain of the name of its kernel's file and waits for its
// init.
func (h *Host) bootsPacked(name string) error {
	if err := h.Send("xl create -c " + name + ".cfg\r"); err != nil {
		return err
	}
	if _, err := h.guestUp(1, 2*time.Minute); err != nil {
		return err
	}
	if _, err := h.expect(`guest# `, 20*time.Second); err != nil {
		return err
	}
	if err := h.leave(); err != nil {
		return err
	}
	if _, err := h.mustDo("xl destroy %s", name); err != nil {
		return err
	}
	return h.gone(name, 20*time.Second)
}
