package metrics

import (
	"context"
	"strconv"

	"nidus/drivers/link"
	"nidus/rpc/control"
)

// Host writes what a control plane knows of the host and its domains. What it can't tell is
// left out.
func Host(ctx context.Context, p control.Plane, page *Page) {
	if i, err := p.HostInfo(ctx); err == nil {
		page.Family("nidus_uptime_seconds", Gauge, "Time since the host started.").Add(i.Uptime.Seconds())
	}
	if m, err := p.Memory(ctx); err == nil {
		f := page.Family("nidus_memory_bytes", Gauge, "The host's memory, by what has it; all is the machine's.")
		f.Add(float64(m.TotalBytes), "of", "all")
		f.Add(float64(m.FreeBytes), "of", "free")
		f.Add(float64(m.GuestBytes), "of", "guests")
		f.Add(float64(m.HypervisorBytes), "of", "hypervisor")
	}
	if cpus, err := p.CPUs(ctx); err == nil {
		f := page.Family("nidus_cpu_idle_seconds_total", Counter, "Time for which a CPU had nothing to do.")
		for _, c := range cpus {
			f.Add(c.Idle.Seconds(), "cpu", strconv.Itoa(c.ID))
		}
	}
	if ds, err := p.ListDomains(ctx); err == nil {
		domains(page, ds)
	}
}

func domains(page *Page, ds []control.DomainInfo) {
	for _, m := range [...]struct {
		name, kind, help string
		of               func(d *control.DomainInfo) float64
	}{
		{"nidus_domain_memory_bytes", Gauge, "Memory that a domain has.", func(d *control.DomainInfo) float64 { return float64(d.MemoryBytes) }},
		{"nidus_domain_vcpus", Gauge, "Vcpus of a domain that are online.", func(d *control.DomainInfo) float64 { return float64(d.VCPUs) }},
		{"nidus_domain_cpu_seconds_total", Counter, "Time for which a domain's vcpus ran.", func(d *control.DomainInfo) float64 { return d.CPUTime.Seconds() }},
		{"nidus_domain_uptime_seconds", Gauge, "Time since a domain was created.", func(d *control.DomainInfo) float64 { return d.Uptime.Seconds() }},
	} {
		f := page.Family(m.name, m.kind, m.help)
		for i := range ds {
			f.Add(m.of(&ds[i]), "domid", strconv.Itoa(int(ds[i].ID)), "name", ds[i].Name)
		}
	}
}

// Card is a network port of the host's and its counts.
type Card struct {
	Name string
	link.Stats
}

// Cards writes the counts of network cards.
func Cards(page *Page, cards []Card) {
	for _, m := range [...]struct {
		name, help string
		in, out    func(s *link.Stats) uint64
	}{
		{"nidus_network_bytes_total", "Bytes of frames, by the way they went.",
			func(s *link.Stats) uint64 { return s.ReceivedBytes }, func(s *link.Stats) uint64 { return s.SentBytes }},
		{"nidus_network_frames_total", "Frames, by the way they went.",
			func(s *link.Stats) uint64 { return s.ReceivedFrames }, func(s *link.Stats) uint64 { return s.SentFrames }},
		{"nidus_network_lost_frames_total", "Frames that were dropped, had errors, or found no buffer.",
			func(s *link.Stats) uint64 { return s.ReceivedDropped + s.ReceivedErrors + s.ReceivedBad + s.NoBuffer }, func(s *link.Stats) uint64 { return s.SentDropped + s.SentErrors }},
	} {
		f := page.Family(m.name, Counter, m.help)
		for i := range cards {
			f.Add(float64(m.in(&cards[i].Stats)), "card", cards[i].Name, "way", "in")
			f.Add(float64(m.out(&cards[i].Stats)), "card", cards[i].Name, "way", "out")
		}
	}
}
