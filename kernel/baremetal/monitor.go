//go:build tamago

package baremetal

// The runtime's monitor (sysmon in proc.go) is the first thread that is made. While a
// vcpu is in its guest, which the runtime takes for a system call, it looks every
// 20 us for processors (Ps) to take back, and backs off to 10 ms only when it finds
// none for long. Nobody waits for those here: each vcpu has a P to spare (kernel/main.go).
// What else it does, it does every 10 ms at the earliest. At 20 us it had 1300
// interrupts a second, and on a machine of one CPU a third of that CPU.
//
// While little runs but guests it has nothing to look after, and sleeps longer each time: a guest under
// an emulator loses all its translations by an interrupt.
const (
	monitorThread  = 2
	monitorSleep   = 5e6 // ns, at least
	monitorLongest = 40e6
	monitorQuiet   = 2e6 // of hostNS, in one sleep
)

var (
	hostNS      int64 // how long threads ran, in turns that ended, that are neither vcpus' nor the monitor
	monitorSaw  int64 // what that was, turns that had not ended included, when the monitor slept last
	monitorWait int64 // for how long it slept at least, in ns
)

// hosts tells whether what a thread runs is the monitor's business.
func (t *thread) hosts() bool { return t.idle == 0 && t.kickWord == 0 && t.id != monitorThread }

// monitorPause is how long the monitor sleeps at least. Preconditions: klock.
func monitorPause() int64 {
	ran, now := hostNS, Nanotime()
	for i := range ncpu {
		if t := threadAt(pcpuOf(i).cur); t.hosts() {
			ran += now - t.since
		}
	}
	if ran-monitorSaw > monitorQuiet {
		monitorWait = 0
	}
	monitorSaw = ran
	monitorWait = min(max(2*monitorWait, monitorSleep), monitorLongest)
	return monitorWait
}
