//go:build tamago

package main

import (
	"fmt"
	"strings"

	"nidus/kernel/baremetal"
	"nidus/kernel/console"
	"nidus/kernel/trace"
)

// logTrace writes the last events of the trace to the log, oldest first, and whose
// threads the vcpus are. Events of entries and exits name vcpus by the number that
// the virtualization gave them.
func (h *host) logTrace() {
	const events = 400 // the log keeps some more
	all := trace.Last(events)
	for _, d := range h.core.Domains() {
		var w strings.Builder
		for _, v := range d.VCPUs {
			fmt.Fprintf(&w, " v%d=%d", v.ID, v.Thread())
		}
		h.log.Printf(console.LevelError, "trace: threads of d%d:%s", d.ID, w.String())
	}
	for _, e := range all {
		h.log.Printf(console.LevelError, "trace: %.6f CPU %d: %v", float64(baremetal.At(e.TSC))/1e9, e.CPU, e)
	}
}
