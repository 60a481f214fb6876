package regress

import (
	"fmt"
	"strconv"
	"time"

	"nidus/images/builder"
)

func balloonCase() Case {
	return Case{Name: "pvh-balloon", What: "memory= less than maxmem=: Debian boots, its balloon driver gives and takes by xl mem-set, and the host's free memory follows; who gives nothing back crashes alone",
		Needs: []string{builder.Vmlinux, builder.Initrd}, Timeout: 3 * time.Minute, Run: balloon}
}

// balloon boots a guest that is promised more than it has, and one more that has no
// balloon driver.
func balloon(t *T) error {
	guest := func(name, more string) []byte {
		return config(name, builder.Vmlinux, 1, 128, "maxmem = 256", `ramdisk = "`+builder.Initrd+`"`, `extra = "console=hvc0 loglevel=4 panic=1 test=shell`+more+`"`)
	}
	h, err := t.bootGuests(Boot{CPUs: 2, MemoryMiB: 1024}, []string{builder.Vmlinux, builder.Initrd}, map[string][]byte{
		"g.cfg": guest("g", ""), "greedy.cfg": guest("greedy", " initcall_blacklist=balloon_init")})
	if err != nil {
		return err
	}
	before, err := h.info("free_memory")
	if err != nil {
		return err
	}
	if err := h.guestShell(1, time.Minute); err != nil {
		return err
	}
	// What the kernel keeps for itself is not in MemTotal.
	if err := h.guestMemory(60, 110); err != nil {
		return err
	}
	if err := h.leave(); err != nil {
		return err
	}
	if _, err := h.mustDo("xl mem-max g 240"); err != nil {
		return err
	}
	for _, c := range []struct{ set, low, high int }{{240, 172, 222}, {128, 60, 110}, {180, 112, 162}} {
		if _, err := h.mustDo("xl mem-set g %d", c.set); err != nil {
			return err
		}
		if err := h.Send("xl console g\r\r"); err != nil {
			return err
		}
		if err := h.guestMemory(c.low, c.high); err != nil {
			return fmt.Errorf("mem-set %d: %w", c.set, err)
		}
		// What it has can be written to.
		if err := h.Send(fmt.Sprintf("dd if=/dev/urandom of=/tmp/x bs=1M count=%d 2>/dev/null; wc -c /tmp/x; rm /tmp/x\r", c.low/8)); err != nil {
			return err
		}
		if _, err := h.expect(fmt.Sprintf(`\n%d /tmp/x`, c.low/8<<20), time.Minute); err != nil {
			return err
		}
		// By itself it gets no more.
		if err := h.Send("mount -t sysfs s /sys; cd /sys/devices/system/xen_memory/xen_memory0; echo 245760 >target_kb && sleep 3; echo target `cat target_kb`\r"); err != nil {
			return err
		}
		if _, err := h.expect(`\ntarget 245760`, time.Minute); err != nil {
			return err
		}
		if err := h.leave(); err != nil {
			return err
		}
		if err := h.holds("g", c.set, before); err != nil {
			return fmt.Errorf("mem-set %d: %w", c.set, err)
		}
	}
	for _, line := range []string{"xl mem-set g 241", "xl mem-max g 100"} {
		if err := h.mustFail(`can (have|be)`, "%s", line); err != nil {
			return err
		}
	}
	if err := greedy(h); err != nil {
		return fmt.Errorf("a guest without a balloon: %w", err)
	}
	if err := h.holds("g", 180, before); err != nil {
		return err
	}
	if _, err := h.mustDo("xl destroy g"); err != nil {
		return err
	}
	if err := h.freeAgain(before); err != nil {
		return err
	}
	return h.powerOff()
}

// holds checks what the one guest has of the machine's memory, in MiB, against what it is
// to have and what was free without it. It may not have touched yet all that it may.
func (h *Host) holds(name string, set, before int) error {
	ds, err := h.list()
	if err != nil || len(ds) != 2 || ds[1].name != name || ds[1].memMiB < set-40 || ds[1].memMiB > set+1 {
		return fmt.Errorf("xl list: %+v, %v; want %s with %d MiB", ds, err, name, set)
	}
	const own = 12 // page tables, vcpu, heap
	has := before - ds[1].memMiB
	if free, err := h.info("free_memory"); err != nil || free > has+3 || free < has-own {
		return fmt.Errorf("%d MiB are free, %d before, with a guest of %d: %v", free, before, ds[1].memMiB, err)
	}
	return nil
}

// greedy has a guest use all that it is promised, and give nothing back: that is its end.
func greedy(h *Host) error {
	if err := h.Send("xl create -c greedy.cfg\r"); err != nil {
		return err
	}
	if _, err := h.expect(`guest# `, time.Minute); err != nil {
		return err
	}
	if err := h.Send("mount -t tmpfs -o size=100% t /mnt; while cat /bin/bench; do :; done >/mnt/x; echo not crashed\r"); err != nil {
		return err
	}
	const why = `domain 2 has written to all of its 128 MiB, its balloon driver has not given back`
	for _, line := range []string{why, `d2 \(greedy\) ended: crash`} {
		if _, err := h.expect(line, time.Minute); err != nil {
			return err
		}
	}
	if err := h.prompt(20 * time.Second); err != nil {
		return err
	}
	return h.gone("greedy", 20*time.Second)
}

// guestMemory asks the guest whose shell is there for its MemTotal until it is between
// two numbers of MiB.
func (h *Host) guestMemory(low, high int) error {
	mib := 0
	for end := time.Now().Add(h.t.within(30 * time.Second)); time.Now().Before(end); time.Sleep(300 * time.Millisecond) {
		if err := h.Send("sed -n 's/MemTotal: *//p' /proc/meminfo\r"); err != nil {
			return err
		}
		m, err := h.expect(`\n(\d+) kB`, 20*time.Second)
		if err != nil {
			return err
		}
		kib, _ := strconv.Atoi(m.Groups[1])
		if mib = kib >> 10; mib >= low && mib <= high {
			return nil
		}
	}
	return fmt.Errorf("the guest has %d MiB, not %d to %d", mib, low, high)
}
