package regress

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"time"

	"nidus/images/builder"
)

func lifeCases() []Case {
	return []Case{
		{Name: "create-destroy-200", What: "200 domains, one after another: no frame lost, no goroutine leaked", Long: true,
			Needs: []string{builder.Vmlinux, builder.Initrd}, Timeout: 20 * time.Minute, Run: func(t *T) error { return createDestroy(t, 200) }},
		{Name: "create-destroy-10", What: "the same with 10", Needs: []string{builder.Vmlinux, builder.Initrd}, Timeout: 5 * time.Minute,
			Run: func(t *T) error { return createDestroy(t, 10) }},
		{Name: "bad-kernels", What: "files, configurations and amounts that cannot work: an error, and nothing left",
			Needs: []string{builder.Vmlinux, builder.Vmlinuz, builder.Initrd}, Timeout: 4 * time.Minute, Run: badKernels},
	}
}

// createDestroy makes and ends domains; each second one is let run for a while.
func createDestroy(t *T, n int) error {
	h, err := t.bootGuests(Boot{CPUs: 3}, []string{builder.Vmlinux, builder.Initrd}, map[string][]byte{"g.cfg": linux("g", builder.Vmlinux, 2, "tick")})
	if err != nil {
		return err
	}
	one := func(i int) error {
		if _, err := h.mustDo("xl create g.cfg"); err != nil {
			return err
		}
		time.Sleep(time.Duration(i%2) * 300 * time.Millisecond)
		if _, err := h.mustDo("xl destroy g"); err != nil {
			return err
		}
		return h.gone("g", 20*time.Second)
	}
	if err := one(0); err != nil { // fills caches, such as the unpacked kernel
		return err
	}
	free, err := h.info("free_memory")
	if err != nil {
		return err
	}
	goroutines, err := h.goroutines()
	if err != nil {
		return err
	}
	for i := range n {
		if err := one(i); err != nil {
			return fmt.Errorf("domain %d: %w", i+1, err)
		}
	}
	if err := h.freeAgain(free); err != nil {
		return err
	}
	if err := h.goroutinesAgain(goroutines); err != nil {
		return err
	}
	return h.powerOff()
}

// badKernels asks for what cannot be. The message names the file.
func badKernels(t *T) error {
	kernel, err := os.ReadFile(t.Out("guest", builder.Vmlinux))
	if err != nil {
		return err
	}
	packed, err := os.ReadFile(t.Out("guest", builder.Vmlinuz))
	if err != nil {
		return err
	}
	text := slices.Repeat([]byte("no kernel\n"), 1000)
	badNote := slices.Clone(kernel[:1<<20])
	clear(badNote[40:60]) // where the section headers are
	files := map[string][]byte{
		"text": text, "empty": nil, "short-elf": kernel[:4096], "cut-elf": kernel[:len(kernel)/2],
		"cut-bzimage": packed[:len(packed)/2], "torn-bzimage": append(slices.Clone(packed[:len(packed)/2]), slices.Repeat([]byte{0xa5}, len(packed)/2)...),
		"odd-elf": badNote, "big-ramdisk": make([]byte, 80<<20),
	}
	type bad struct{ cfg, want string }
	var bads []bad
	configs := map[string][]byte{"good.cfg": linux("good", builder.Vmlinux, 1, "tick")}
	add := func(name, want string, cfg []byte) {
		configs[name+".cfg"] = cfg
		bads = append(bads, bad{name + ".cfg", want})
	}
	for name, data := range files {
		if err := t.file(name, append(data, 0)[:max(len(data), 1)]); err != nil { // QEMU takes no empty module
			return err
		}
		if name != "big-ramdisk" {
			add("k-"+name, regexp.QuoteMeta(name), config("bad", name, 1, 128))
		}
	}
	add("ramdisk", "big-ramdisk", config("bad", builder.Vmlinux, 1, 128, `ramdisk = "big-ramdisk"`))
	add("missing", "not-there", config("bad", "not-there", 1, 128))
	add("memory", "memory", config("bad", builder.Vmlinux, 1, 1<<20))
	add("no-vcpu", `no-vcpu\.cfg:3`, []byte("name = \"bad\"\ntype = \"pvh\"\nvcpus = -1\nkernel = \"vmlinux\"\n"))
	add("unknown", `unknown\.cfg:2.*memroy`, []byte("name = \"bad\"\nmemroy = 3\ntype = \"pvh\"\nkernel = \"vmlinux\"\n"))
	add("contradiction", `contradiction\.cfg:\d+`, config("bad", builder.Vmlinux, 1, 512, "maxmem = 128"))
	add("syntax", `syntax\.cfg:2`, []byte("name = \"bad\"\nkernel = [\"\n"))
	add("nameless", "name", []byte("type = \"pvh\"\nkernel = \"vmlinux\"\n"))

	parts := []string{builder.Vmlinux, builder.Initrd}
	for name := range files {
		parts = append(parts, name)
	}
	h, err := t.bootBad(parts, configs)
	if err != nil {
		return err
	}
	// A good one first: its unpacked kernel is kept, and is no loss.
	if _, err := h.mustDo("xl create good.cfg"); err != nil {
		return err
	}
	if _, err := h.mustDo("xl destroy good"); err != nil {
		return err
	}
	if err := h.gone("good", 20*time.Second); err != nil {
		return err
	}
	free, err := h.info("free_memory")
	if err != nil {
		return err
	}
	slices.SortFunc(bads, func(a, b bad) int { return len(a.cfg) - len(b.cfg) })
	var failures []error
	for _, b := range bads {
		if err := h.mustFail(b.want, "xl create %s", b.cfg); err != nil {
			failures = append(failures, err)
		}
		if ds, err := h.list(); err != nil || len(ds) != 1 {
			return fmt.Errorf("after %s: %+v, %v", b.cfg, ds, err)
		}
	}
	if err := errors.Join(failures...); err != nil {
		return err
	}
	if err := h.freeAgain(free); err != nil {
		return err
	}
	if _, err := h.mustDo("xl create good.cfg"); err != nil {
		return err
	}
	if err := h.mustFail("good", "xl create good.cfg"); err != nil { // the name is taken
		return err
	}
	if err := h.ticks("good", 2, time.Minute); err != nil {
		return err
	}
	return h.powerOff()
}

// bootBad boots with files of the case's folder beside the guests' parts.
func (t *T) bootBad(parts []string, configs map[string][]byte) (*Host, error) {
	b := Boot{MemoryMiB: 1024}
	var own []string
	for _, p := range parts {
		if p == builder.Vmlinux || p == builder.Initrd {
			own = append(own, p)
		} else {
			b.Modules = append(b.Modules, p)
		}
	}
	return t.bootGuests(b, own, configs)
}
