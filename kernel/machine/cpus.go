//go:build tamago

package machine

import (
	"runtime"

	"nidus/kernel/baremetal"
	"nidus/kernel/boot"
	"nidus/kernel/cpu"
)

// trampolinePage finds a usable page below 1 MiB for an AP's first instructions:
// that is where STARTUP can point.
func (m *Machine) trampolinePage() (uint64, bool) {
	for _, r := range m.Info.Memory {
		if r.Type != boot.MemUsable || r.Start >= 1<<20 {
			continue
		}
		for p := max(r.Start+0xfff, 0x1000) &^ 0xfff; p+0x1000 <= min(r.End, 0xa0000); p += 0x1000 {
			if !m.inUse(p) {
				return p, true
			}
		}
	}
	return 0, false
}

// inUse tells whether the page holds something of the loader's.
func (m *Machine) inUse(p uint64) bool {
	for i := 0; i < baremetal.Early.NumOwn(); i++ {
		if o := baremetal.Early.Own(i); o.Addr < p+0x1000 && p < o.Addr+o.Len {
			return true
		}
	}
	for _, mod := range m.Info.Modules {
		if mod.Start < p+0x1000 && p < mod.End {
			return true
		}
	}
	return false
}

// NestedCPUs returns the set of CPUs that guests with nested paging run on. It is all of them, but under
// QEMU's TCG: there FXRSTOR and its like, on any CPU and by guests too, rewrite a word of
// the first CPU's state without a lock (cpu_clear_ignne), and a VMRUN or #VMEXIT of that
// CPU in the same moment can lose its switch of nested paging, which ends the guest or
// the host. docs/exit.md, "Under QEMU".
func NestedCPUs() uint64 {
	all := uint64(1)<<baremetal.NumCPU() - 1
	if all != 1 && cpu.UnderTCG() {
		return all &^ 1
	}
	return all
}

// StartCPUs brings the other CPUs up, as many as maxcpus= allows, and gives the
// Go runtime a P for each. Before, it tells the runtime of processors without fast string
// instructions.
func (m *Machine) StartCPUs() {
	if cpu.UnderTCG() {
		baremetal.SlowStrings()
	}
	limit := baremetal.MaxCPUs
	if m.Options.MaxCPUs > 0 {
		limit = min(limit, m.Options.MaxCPUs)
	}
	if m.Options.NoSMP || m.ACPI.MADT == nil {
		limit = 1
	}
	page, ok := m.trampolinePage()
	if !ok && limit > 1 {
		m.Log("CPUs: no free page below 1 MiB to start another one from")
		limit = 1
	}
	self := baremetal.APICID(0)
	failed, left := 0, 0
	if limit > 1 {
		for _, c := range m.ACPI.MADT.CPUs {
			switch {
			case !c.Enabled || c.APICID == self:
			case baremetal.NumCPU() == limit:
				left++
			case c.APICID > 254 && !baremetal.X2APIC():
				m.Log("CPUs: APIC id %d needs x2APIC, which this CPU does not have", c.APICID)
				failed++
			case !baremetal.StartCPU(c.APICID, page):
				m.Log("CPUs: the one with APIC id %d did not start", c.APICID)
				failed++
			}
		}
	}
	baremetal.DropIdentity()
	runtime.GOMAXPROCS(baremetal.NumCPU())
	mode := "xAPIC"
	if baremetal.X2APIC() {
		mode = "x2APIC"
	}
	m.Log("CPUs: %d up, %d failed, %d left alone; %s", baremetal.NumCPU(), failed, left, mode)
}
