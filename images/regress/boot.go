package regress

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"nidus/images/builder"
)

func bootCases() []Case {
	return []Case{
		{Name: "boot-bios", What: "GRUB on a BIOS: multiboot 1, gzip'd, and multiboot 2", Timeout: 5 * time.Minute, Run: bootBIOS},
		{Name: "boot-uefi", What: "GRUB on UEFI: multiboot 2", Timeout: 4 * time.Minute, Run: bootUEFI},
		{Name: "boot-pvh", What: "the PVH note, without a multiboot header", Timeout: 2 * time.Minute, Run: func(t *T) error {
			return bootChecked(t, Boot{Image: "nidus-pvh"}, 1, 512)
		}},
		{Name: "boot-256m", What: "the least memory", Timeout: 2 * time.Minute, Run: func(t *T) error {
			return bootChecked(t, Boot{MemoryMiB: 256}, 1, 256)
		}},
		{Name: "boot-smp4", What: "four CPUs", Timeout: 2 * time.Minute, Run: func(t *T) error {
			return bootChecked(t, Boot{CPUs: 4}, 4, 512)
		}},
		{Name: "boot-smp64", What: "64 CPUs", Long: true, Timeout: 6 * time.Minute, Run: func(t *T) error {
			return bootChecked(t, Boot{CPUs: 64, MemoryMiB: 2048, Timeout: 5 * time.Minute}, 64, 2048)
		}},
		{Name: "boot-64g", What: "64 GiB of memory (sparse)", Long: true, Timeout: 5 * time.Minute, Run: func(t *T) error {
			const mib = 64 << 10
			memory := []string{"-object", fmt.Sprintf("memory-backend-ram,id=m,size=%dM,prealloc=off,reserve=off", mib), "-machine", "memory-backend=m"}
			return bootChecked(t, Boot{CPUs: 2, MemoryMiB: mib, Args: memory, Timeout: 4 * time.Minute}, 2, mib)
		}},
	}
}

// bootChecked boots, checks what the host says it has, and turns it off.
func bootChecked(t *T, b Boot, cpus, memMiB int) error {
	h, err := t.boot(b)
	if err != nil {
		return err
	}
	return h.check(cpus, memMiB)
}

func (h *Host) check(cpus, memMiB int) error {
	if n, err := h.info("nr_cpus"); err != nil || n != cpus {
		return fmt.Errorf("xl info: %d CPUs, want %d: %v", n, cpus, err)
	}
	// The firmware keeps some of it.
	if n, err := h.info("total_memory"); err != nil || n > memMiB || n < memMiB-max(16, memMiB/20) {
		return fmt.Errorf("xl info: %d MiB, want about %d: %v", n, memMiB, err)
	}
	ds, err := h.list()
	if err != nil {
		return err
	}
	if len(ds) != 1 {
		return fmt.Errorf("domains that nobody made: %+v", ds)
	}
	return h.powerOff()
}

func bootBIOS(t *T) error {
	for _, iso := range []builder.ISO{
		{Protocol: builder.Multiboot1},
		{Protocol: builder.Multiboot1, Compress: true},
		{Protocol: builder.Multiboot2, Compress: true},
	} {
		if err := bootISO(t, iso, 512); err != nil {
			return fmt.Errorf("%s, compressed %v: %w", iso.Protocol, iso.Compress, err)
		}
	}
	return nil
}

// bootISO boots by GRUB with a module, which the shell must list.
func bootISO(t *T, iso builder.ISO, memMiB int, args ...string) error {
	if err := t.Guests(builder.DebianCfg); err != nil {
		return err
	}
	iso.Name, iso.CommandLine, iso.Modules = filepath.Join("regress", t.name+".iso"), CommandLine, []string{builder.DebianCfg}
	file, err := t.MakeISO(iso)
	if err != nil {
		return err
	}
	defer os.Remove(file)
	h, err := t.boot(Boot{NoKernel: true, MemoryMiB: memMiB, Args: append(args, "-cdrom", file), Timeout: 90 * time.Second})
	if err != nil {
		return err
	}
	out, err := h.mustDo("xl modules")
	if err != nil {
		return err
	}
	if !contains(out, `(?m)^`+builder.DebianCfg+` `) {
		return fmt.Errorf("xl modules has no %s: %q", builder.DebianCfg, out)
	}
	return h.check(1, memMiB)
}

func bootUEFI(t *T) error {
	return withUEFI(t, func(args []string) error {
		return bootISO(t, builder.ISO{Protocol: builder.Multiboot2, Compress: true}, 768, args...)
	})
}
