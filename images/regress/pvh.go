package regress

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"nidus/images/builder"
)

func pvhCases() []Case {
	debian := []string{builder.Vmlinuz, builder.Vmlinux, builder.Initrd}
	return []Case{
		{Name: "pvh-debian-vmlinux", What: "Debian's kernel as an ELF file: its shell, a clean shutdown", Needs: debian, Timeout: 3 * time.Minute, Run: func(t *T) error {
			return debianGuest(t, pvh, builder.Vmlinux, 1)
		}},
		{Name: "pvh-debian-bzimage", What: "the same as a bzImage", Needs: debian, Timeout: 4 * time.Minute, Run: func(t *T) error {
			return debianGuest(t, pvh, builder.Vmlinuz, 1)
		}},
		{Name: "pvh-smp4", What: "four vcpus on two CPUs", Needs: debian, Timeout: 4 * time.Minute, Run: func(t *T) error {
			return debianGuest(t, pvh, builder.Vmlinux, 4)
		}},
		{Name: "pvh-smp16", Long: true, What: "16 vcpus on two CPUs", Needs: debian, Timeout: 5 * time.Minute, Run: func(t *T) error {
			return debianGuest(t, pvh, builder.Vmlinux, 16)
		}},
		{Name: "wakeups", What: "eight vcpus on two CPUs: no command of many waits for long", Needs: debian, Timeout: 3 * time.Minute, Run: wakeups},
		{Name: "pvh-compressions", Long: true, What: "Debian's kernel packed in each way that Linux has: as ELF and as bzImage, to its init", Needs: debian, Timeout: 20 * time.Minute, Run: compressions},
		{Name: "pvh-smp-sipi", What: "16 vcpus by INIT and SIPI, xAPIC and x2APIC, and by VCPUOP", Needs: []string{builder.SIPI}, Timeout: 2 * time.Minute, Run: sipiGuest},
		{Name: "pvh-avx", What: "the threads of two guests keep different things in the AVX registers", Needs: debian, Timeout: 3 * time.Minute, Run: func(t *T) error { return avxGuests(t, pvh) }},
		{Name: "store-asks", Long: true, What: "two guests ask the store 100,000 times each, all the time: each request is answered", Needs: debian, Timeout: 10 * time.Minute, Run: storeAsks},
		{Name: "pvh-two-domains", What: "two guests side by side; one ends, one goes on", Needs: debian, Timeout: 5 * time.Minute, Run: twoDomains},
		{Name: "pvh-pvgrub", What: "GRUB as a guest, to its prompt", Needs: []string{builder.PVGrub}, Timeout: 2 * time.Minute, Run: func(t *T) error { return pvgrub(t, pvh, builder.PVGrub) }},
	}
}

// config is a domain's configuration file.
func config(name, kernel string, vcpus, memMiB int, more ...string) []byte {
	return fmt.Appendf(nil, "name = %q\ntype = \"pvh\"\nkernel = %q\nvcpus = %d\nmemory = %d\n%s\n", name, kernel, vcpus, memMiB, strings.Join(more, "\n"))
}

// linux is a configuration of Debian's kernel; test is what its init does.
func linux(name, kernel string, vcpus int, test string, more ...string) []byte {
	return config(name, kernel, vcpus, 256, append(more, `ramdisk = "`+builder.Initrd+`"`,
		`extra = "console=hvc0 loglevel=4 panic=1 test=`+test+`"`)...)
}

// bootGuests boots a host with guests' parts and configuration files.
func (t *T) bootGuests(b Boot, parts []string, configs map[string][]byte) (*Host, error) {
	for _, p := range parts {
		if err := t.part(p, ""); err != nil {
			return nil, err
		}
		b.Modules = append(b.Modules, p)
	}
	for name, data := range configs {
		if err := t.file(name, data); err != nil {
			return nil, err
		}
		b.Modules = append(b.Modules, name)
	}
	if b.MemoryMiB == 0 {
		b.MemoryMiB = 1024
	}
	return t.boot(b)
}

// debianGuest does what a person would: create with the console, type into the
// guest's shell, leave the console, see the domain in the list, shut it down.
func debianGuest(t *T, p personality, kernel string, vcpus int) error {
	h, err := t.bootGuests(p.host(Boot{CPUs: 3}), []string{kernel, builder.Initrd}, map[string][]byte{"g.cfg": p.guest(linux("g", kernel, vcpus, "shell"))})
	if err != nil {
		return err
	}
	free, err := h.info("free_memory")
	if err != nil {
		return err
	}
	if err := h.guestShell(vcpus, 2*time.Minute); err != nil {
		return err
	}
	if err := h.Send("echo $((6*7)) $(cat /sys/hypervisor/type) $(nproc)\r"); err != nil {
		return err
	}
	if _, err := h.expect(fmt.Sprintf(`\n42 xen %d\r?\n`, vcpus), 20*time.Second); err != nil {
		return err
	}
	if err := h.leave(); err != nil {
		return err
	}
	ds, err := h.list()
	if err != nil {
		return err
	}
	if len(ds) != 2 || ds[1].name != "g" || ds[1].vcpus != vcpus || ds[1].memMiB < 250 || ds[1].memMiB > 257 {
		return fmt.Errorf("xl list: %+v, want g with %d vcpus and 256 MiB", ds, vcpus)
	}
	if err := clockRuns(h); err != nil {
		return err
	}
	// Linux hears of control/shutdown and runs /sbin/poweroff.
	if _, err := h.mustDo("xl shutdown g"); err != nil {
		return err
	}
	if err := h.gone("g", 60*time.Second); err != nil {
		return err
	}
	// A MiB for each vcpu's thread, which stays for the next one.
	if err := h.freeAgain(free - vcpus); err != nil {
		return err
	}
	return h.powerOff()
}

// clockRuns attaches to the guest's shell, and compares its clock with ours.
func clockRuns(h *Host) error {
	if err := h.Send("xl console g\r\r"); err != nil {
		return err
	}
	if _, err := h.expect(`guest# `, 20*time.Second); err != nil {
		return err
	}
	if err := clockOf(h); err != nil {
		return err
	}
	return h.leave()
}

// clockOf compares the clock of the guest whose shell is there with ours over some
// seconds.
func clockOf(h *Host) error {
	uptime := func() (guest float64, at time.Duration, err error) {
		if err := h.Send("cut -d' ' -f1 /proc/uptime\r"); err != nil {
			return 0, 0, err
		}
		m, err := h.expect(`\n(\d+\.\d+)\r?\n`, 20*time.Second)
		if err != nil {
			return 0, 0, err
		}
		_, err = fmt.Sscan(m.Groups[1], &guest)
		return guest, m.At, err
	}
	g0, t0, err := uptime()
	if err != nil {
		return err
	}
	time.Sleep(5 * time.Second)
	g1, t1, err := uptime()
	if err != nil {
		return err
	}
	if ratio := (g1 - g0) / (t1 - t0).Seconds(); ratio < 0.8 || ratio > 1.2 {
		return fmt.Errorf("in %.2f s of ours the guest's clock went on by %.2f s", (t1 - t0).Seconds(), g1-g0)
	}
	return nil
}

func twoDomains(t *T) error {
	h, err := t.bootGuests(Boot{CPUs: 3, MemoryMiB: 1536}, []string{builder.Vmlinux, builder.Initrd}, map[string][]byte{
		"a.cfg": linux("a", builder.Vmlinux, 1, "tick"), "b.cfg": linux("b", builder.Vmlinux, 1, "tick")})
	if err != nil {
		return err
	}
	for _, n := range []string{"a", "b"} {
		if _, err := h.mustDo("xl create %s.cfg", n); err != nil {
			return err
		}
	}
	for _, n := range []string{"a", "b"} {
		if err := h.ticks(n, 3, 2*time.Minute); err != nil {
			return err
		}
	}
	if _, err := h.mustDo("xl destroy a"); err != nil {
		return err
	}
	if err := h.gone("a", 20*time.Second); err != nil {
		return err
	}
	if err := h.ticks("b", 3, 20*time.Second); err != nil {
		return err
	}
	if _, err := h.mustDo("xl pause b"); err != nil {
		return err
	}
	if ds, err := h.list(); err != nil || len(ds) != 2 || !strings.Contains(ds[1].state, "p") {
		return fmt.Errorf("xl list after pause: %+v, %v", ds, err)
	}
	if _, err := h.mustDo("xl unpause b"); err != nil {
		return err
	}
	if err := h.ticks("b", 3, 20*time.Second); err != nil {
		return err
	}
	return h.powerOff()
}

// ticks watches a guest with test=tick until it has said so n times.
func (h *Host) ticks(name string, n int, timeout time.Duration) error {
	if err := h.Send("xl console " + name + "\r"); err != nil {
		return err
	}
	// What the console's history replays comes at once and proves nothing.
	time.Sleep(500 * time.Millisecond)
	end, last := time.Now().Add(timeout), time.Duration(0)
	for seen := 0; seen < n; {
		m, err := h.expect(`NIDUS-GUEST-TICK (\d+)`, time.Until(end))
		if err != nil {
			return fmt.Errorf("guest %s: %w", name, err)
		}
		if m.At-last > 300*time.Millisecond {
			seen++
		}
		last = m.At
	}
	return h.leave()
}

// alive waits until a busy guest is past its boot, and loops.
func (h *Host) alive(name string) error {
	_, err := h.says(name, `NIDUS-GUEST-ALIVE`, 3*time.Minute)
	return err
}

// says waits at a guest's console for what it says, or has said, and returns the groups.
func (h *Host) says(name, what string, timeout time.Duration) ([]string, error) {
	if err := h.Send("xl console " + name + "\r"); err != nil {
		return nil, err
	}
	m, err := h.expect(what, timeout)
	if err != nil {
		return nil, fmt.Errorf("guest %s: %w", name, err)
	}
	return m.Groups, h.leave()
}

// pvgrub runs GRUB as a guest of a personality, to its prompt.
func pvgrub(t *T, p personality, kernel string) error {
	h, err := t.bootGuests(p.host(Boot{}), []string{kernel}, map[string][]byte{"grub.cfg": p.guest(config("grub", kernel, 1, 128))})
	if err != nil {
		return err
	}
	if err := h.Send("xl create -c grub.cfg\r"); err != nil {
		return err
	}
	if _, err := h.expect(`grub(\x1b\[[0-9;]*[A-Za-z]|\s)*> ?`, time.Minute); err != nil {
		return err
	}
	if err := h.Send("echo one-$pager-two\r"); err != nil {
		return err
	}
	if _, err := h.expect(`one--two`, 20*time.Second); err != nil {
		return err
	}
	if err := h.leave(); err != nil {
		return err
	}
	if _, err := h.mustDo("xl destroy grub"); err != nil {
		return err
	}
	return h.powerOff()
}

func contains(s, re string) bool { return regexp.MustCompile(re).MatchString(s) }
