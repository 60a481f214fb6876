package metrics

import (
	"context"
	"errors"
	"testing"
	"time"

	"nidus/drivers/link"
	"nidus/rpc/control"
)

// plane knows something, and not what its CPUs do.
type plane struct{ control.Plane }

func (plane) HostInfo(context.Context) (control.HostInfo, error) {
	return control.HostInfo{Uptime: 1500 * time.Millisecond}, nil
}

func (plane) Memory(context.Context) (control.MemoryInfo, error) {
	return control.MemoryInfo{TotalBytes: 1 << 30, FreeBytes: 5, GuestBytes: 6, HypervisorBytes: 7}, nil
}

func (plane) CPUs(context.Context) ([]control.CPUInfo, error) { return nil, errors.New("not now") }

func (plane) ListDomains(context.Context) ([]control.DomainInfo, error) {
	return []control.DomainInfo{{Name: "Domain-0"}, {ID: 3, Name: `a"b`, VCPUs: 2, MemoryBytes: 1 << 20, CPUTime: time.Second, Uptime: time.Minute}}, nil
}

func TestHost(t *testing.T) {
	var p Page
	Host(t.Context(), plane{}, &p)
	const want = `# HELP nidus_uptime_seconds Time since the host started.
# TYPE nidus_uptime_seconds gauge
nidus_uptime_seconds 1.5
# HELP nidus_memory_bytes The host's memory, by what has it; all is the machine's.
# TYPE nidus_memory_bytes gauge
nidus_memory_bytes{of="all"} 1.073741824e+09
nidus_memory_bytes{of="free"} 5
nidus_memory_bytes{of="guests"} 6
nidus_memory_bytes{of="hypervisor"} 7
# HELP nidus_domain_memory_bytes Memory that a domain has.
# TYPE nidus_domain_memory_bytes gauge
nidus_domain_memory_bytes{domid="0",name="Domain-0"} 0
nidus_domain_memory_bytes{domid="3",name="a\"b"} 1.048576e+06
# HELP nidus_domain_vcpus Vcpus of a domain that are online.
# TYPE nidus_domain_vcpus gauge
nidus_domain_vcpus{domid="0",name="Domain-0"} 0
nidus_domain_vcpus{domid="3",name="a\"b"} 2
# HELP nidus_domain_cpu_seconds_total Time for which a domain's vcpus ran.
# TYPE nidus_domain_cpu_seconds_total counter
nidus_domain_cpu_seconds_total{domid="0",name="Domain-0"} 0
nidus_domain_cpu_seconds_total{domid="3",name="a\"b"} 1
# HELP nidus_domain_uptime_seconds Time since a domain was created.
# TYPE nidus_domain_uptime_seconds gauge
nidus_domain_uptime_seconds{domid="0",name="Domain-0"} 0
nidus_domain_uptime_seconds{domid="3",name="a\"b"} 60
`
	if got := string(p.Bytes()); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestCards(t *testing.T) {
	var p Page
	Cards(&p, []Card{{"eth0", link.Stats{SentFrames: 1, SentBytes: 2, SentDropped: 3, SentErrors: 4, ReceivedFrames: 10, ReceivedBytes: 20, ReceivedDropped: 100, ReceivedErrors: 200, ReceivedBad: 300, NoBuffer: 400}}})
	const want = `# HELP nidus_network_bytes_total Bytes of frames, by the way they went.
# TYPE nidus_network_bytes_total counter
nidus_network_bytes_total{card="eth0",way="in"} 20
nidus_network_bytes_total{card="eth0",way="out"} 2
# HELP nidus_network_frames_total Frames, by the way they went.
# TYPE nidus_network_frames_total counter
nidus_network_frames_total{card="eth0",way="in"} 10
nidus_network_frames_total{card="eth0",way="out"} 1
# HELP nidus_network_lost_frames_total Frames that were dropped, had errors, or found no buffer.
# TYPE nidus_network_lost_frames_total counter
nidus_network_lost_frames_total{card="eth0",way="in"} 1000
nidus_network_lost_frames_total{card="eth0",way="out"} 7
`
	if got := string(p.Bytes()); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
