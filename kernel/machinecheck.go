//go:build tamago

package main

import (
	"nidus/kernel/baremetal"
	"nidus/kernel/console"
	"nidus/kernel/cpu"
	"nidus/kernel/machine/mca"
	"nidus/mm"
)

// machineCheck reads every CPU's banks, because the vcpu's thread may have moved
// on since, and ends the host if it can't be trusted.
func (h *host) machineCheck(running mm.DomID) mca.Verdict {
	v := mca.GoOn
	for i := range baremetal.NumCPU() {
		var r mca.Record
		baremetal.OnCPU(i, func() { r = mca.Read(cpu.ReadMSR, cpu.WriteMSR) })
		if len(r.Banks) == 0 && r.Status == 0 {
			continue
		}
		h.log.Printf(console.LevelError, "CPU %d: %v", i, r)
		v = max(v, mca.Judge(r, running, baremetal.Frames.Info))
	}
	if v == mca.EndHost {
		baremetal.Crash("a machine check says that the processor or the hypervisor's memory is damaged; the lines above are what it recorded")
	}
	return v
}
