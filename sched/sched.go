// Package sched decides who runs next on a physical CPU: vcpus and the threads
// of the Go runtime alike. It is pure policy: the caller owns the threads, the
// clock, the timers and the interprocessor interrupts.
//
// Two levels compete for a CPU:
//
//   - Host threads (control plane, I/O) come first, in turn, by short slices. One
//     that spins is demoted to the second level until it has blocked for a while
//     or a period has passed, and however host threads behave, waiting vcpus get
//     a CPU for guardSlice of every guardLimit. Before they take the CPU of a vcpu
//     that is spared (Spare) they wait for a moment for one of their own, and so they do when it wakes.
//   - VCPU threads share by the rules of Xen's credit2 (xl.cfg(5), cpu_weight and
//     cap): each vcpu has the weight of its domain; a domain's vcpus together may
//     have a cap in percent of one CPU. Where credit2 burns credit, this package
//     lets virtual time pass: time run, divided by weight. The thread with the
//     least virtual time runs next.
//
// Each level is one queue for all CPUs, a tree that knows for each of its
// branches which CPUs the threads in it may use (tree.go), so that choosing takes
// O(log threads) with any affinity.
//
// The package runs on kernel entry, outside the Go runtime: a Scheduler holds no
// pointers, nothing allocates, blocks or panics, and bad arguments are ignored. It
// does no locking; the caller's lock guards every call.
//
// Calls that change who should run return the set of CPUs that the caller must
// make call Pick soon, its own among them.
package sched

const (
	// MaxCPUs is how many CPUs there may be: numbers 0 to MaxCPUs-1.
	MaxCPUs = 64
	// MaxThreads is how many threads there may be: ids 0 to MaxThreads-1.
	MaxThreads = 1024
	// MaxGroups is how many groups there are: 0 to MaxGroups-1.
	MaxGroups = 512

	// Idle is what Pick returns when no thread can run.
	Idle = -1

	// NoGroup is the group of a thread that shares with nobody: default weight, no
	// cap.
	NoGroup = 0xffff

	// DefaultWeight is a group's weight until SetWeight.
	DefaultWeight = 256
)

// Class is how a thread competes for a CPU.
type Class uint8

// The classes.
const (
	Host Class = iota // latency first
	VCPU              // a share by weight and cap
)

// State is what became of the thread that ran on the CPU that calls Pick.
type State uint8

// The states.
const (
	Running State = iota // it could go on
	Blocked              // it waits for a Wake
	Yielded              // it could go on, but lets others go first
	Exited               // it is gone, as after Remove
)

// All times are in nanoseconds.
const (
	hostSlice     int64 = 1e6 // a host thread's turn while others wait
	vcpuSlice     int64 = 5e6 // a vcpu's, at the default weight and above
	vcpuSliceMin  int64 = 1e6 // and at small weights
	boostSlice    int64 = 500e3
	granularity   int64 = 1e6   // how far behind a vcpu must be to preempt another
	resistance    int64 = 500e3 // how far ahead a thread may be that its last CPU prefers
	softTolerance int64 = 2e6   // and one that prefers the CPU
	keep          int64 = 50e6  // how far a thread may be behind or ahead and stay so, in time of its own

	spinLimit  int64 = 10e6  // how long a host thread runs before it is demoted
	spinRest   int64 = 1e6   // how long it must then block to be promoted
	restCredit int64 = 2     // for how much time run a blocked one makes up: who runs two thirds of the time does not spin
	spinPeriod int64 = 100e6 // or how long it stays demoted at most

	guardLimit int64 = 20e6 // how long host threads keep a CPU from waiting vcpus
	guardSlice int64 = 1e6  // and for how long a vcpu then runs undisturbed

	capPeriod  int64 = 10e6  // a cap's budget is renewed this often
	capKeep    int64 = 4     // periods of which what was not used is kept
	capMinRun  int64 = 20e3  // shortest time until a budget's end is looked at
	busyRun    int64 = 500e3 // and that of a thread that is busy
	releaseMax       = 32    // most threads that one Pick takes from parking
	retrySoon  int64 = 20e3  // when it could not take all

	patience int64 = hostSlice // how long a host thread waits for the CPUs of others before it takes a spared vcpu's

	hostWeight = 8 * DefaultWeight // of a demoted host thread, at least
)

const none = 0xffff // no thread or group

// Where a thread is.
const (
	absent  = iota
	blocked // or about to be placed
	queued  // in the tree of its level
	parked  // its group is out of budget
	running // on a CPU
)

// The levels, most urgent first.
const (
	levelHost = iota
	levelVCPU
	nlevel
)

type thread struct {
	// The node of a level's tree.
	left, right, parent uint16
	prio                uint32
	key                 int64 // order within the level: a turn, or virtual time
	own, sum            [nmask]uint64

	next, prev uint16 // its group's parking list

	where   uint8
	level   uint8 // while queued or running
	class   Class
	boosted bool
	demoted bool
	woken   bool // Wake came between its blocking and Pick
	busy    bool // see SetBusy
	spared  bool // see Spare
	group   uint16
	cpu     uint8 // where it runs, or ran last

	hard, soft uint64

	vtime   int64 // virtual time
	ahead   int64 // of the first that waited, when it blocked; virtual time
	runtime int64
	burst   int64 // host class: time run, less time blocked
	stamp   int64 // since when it is blocked
	since   int64 // since when it is demoted
	waits   int64 // since when it is queued
}

type group struct {
	weight  uint32
	cap     uint32 // percent of one CPU; 0 is none
	runtime int64

	budget     int64  // left, or debt if negative
	period     int64  // number of the period in which budget was renewed last
	parked     uint16 // first parked thread
	next, prev uint16 // the owner's list of groups with parked threads
	owner      uint8  // CPU that wakes for them at the period's end
}

type cpu struct {
	cur      uint16
	parked   uint16 // first group whose parked threads this CPU releases
	since    int64  // up to when cur was charged
	sliceEnd int64
	vtime    int64  // virtual time that vcpus have reached here; only grows
	home     uint16 // the vcpu that ran here last
	earned   bool   // cur, a host thread, had waited for its patience
	hostRun  int64  // how long host threads ran since vcpus had their share
}

// Scheduler is the state of all CPUs, threads and groups. Init before use.
type Scheduler struct {
	threads [MaxThreads]thread
	groups  [MaxGroups]group
	cpus    [MaxCPUs]cpu

	root        [nlevel]uint16
	rnd         uint32
	first, last int64 // turns given to boosted and to other host threads
	maxWeight   uint32

	online   uint64
	idle     uint64
	kicked   uint64 // will call Pick soon
	tickless uint64 // run a thread and have no timer for the end of its slice
	spares   int    // how many vcpus are spared
	homes    uint64 // where a vcpu ran last that ran nowhere else since
}

// Init makes s empty: no CPU, no thread, every group at the default weight.
func (s *Scheduler) Init() {
	for i := range s.threads {
		s.threads[i].where = absent
	}
	for i := range s.groups {
		g := &s.groups[i]
		g.next, g.prev, g.parked = none, none, none
		g.weight, g.cap, g.runtime = DefaultWeight, 0, 0
	}
	for i := range s.cpus {
		c := &s.cpus[i]
		c.cur, c.parked = none, none
		c.since, c.sliceEnd, c.vtime, c.hostRun = 0, 0, 0, 0
	}
	s.root[levelHost], s.root[levelVCPU] = none, none
	s.rnd, s.first, s.last = 2463534242, 0, 0
	s.maxWeight = hostWeight
	s.online, s.idle, s.kicked, s.tickless = 0, 0, 0, 0
	s.spares = 0
}

// CPUOnline adds a CPU, which is idle and must call Pick next.
func (s *Scheduler) CPUOnline(cpu int, now int64) {
	if uint(cpu) >= MaxCPUs || s.online>>cpu&1 != 0 {
		return
	}
	s.cpus[cpu].since = now
	s.online |= 1 << cpu
	s.idle |= 1 << cpu
	s.kicked |= 1 << cpu
}

// CPUIdle says whether cpu is online and runs no thread.
func (s *Scheduler) CPUIdle(cpu int) bool {
	return uint(cpu) < MaxCPUs && s.idle>>cpu&1 != 0
}

// Waiting tells whether any thread waits for a CPU. Who has no lock gets an answer that may be
// old already.
//
//go:nosplit
func (s *Scheduler) Waiting() bool { return s.root[levelHost] != none || s.root[levelVCPU] != none }

// Add creates a blocked thread that may run anywhere. An id that exists is left
// alone.
func (s *Scheduler) Add(id uint16, class Class, now int64) {
	if id >= MaxThreads || class > VCPU || s.threads[id].where != absent {
		return
	}
	t := &s.threads[id]
	t.where, t.class, t.group, t.cpu = blocked, class, NoGroup, 0
	t.boosted, t.demoted, t.woken, t.busy = false, false, false, false
	t.hard, t.soft = ^uint64(0), ^uint64(0)
	t.vtime, t.ahead, t.runtime, t.burst, t.stamp, t.since = 0, 0, 0, 0, now, 0
	t.next, t.prev, t.waits, t.spared = none, none, 0, false
}

// Remove forgets a thread. The CPU that ran it, if any, must call Pick.
func (s *Scheduler) Remove(id uint16, now int64) (kick uint64) {
	t := s.thread(id)
	if t == nil {
		return 0
	}
	s.detach(id)
	s.leaveHome(id)
	s.Spare(id, false)
	if t.where == running {
		s.charge(int(t.cpu), now)
		s.cpus[t.cpu].cur = none
		kick = s.kick(1 << t.cpu)
	}
	t.where = absent
	return kick
}

// SetClass changes how a thread competes.
func (s *Scheduler) SetClass(id uint16, class Class, now int64) (kick uint64) {
	t := s.thread(id)
	if t == nil || class > VCPU || t.class == class {
		return 0
	}
	waiting := s.detach(id)
	kick = s.recount(t, now)
	s.Spare(id, false)
	t.class, t.demoted, t.burst = class, false, 0
	if waiting {
		kick |= s.place(id, now)
	}
	return kick
}

// SetGroup makes a thread one of group, a domain; NoGroup for none.
func (s *Scheduler) SetGroup(id, group uint16, now int64) (kick uint64) {
	t := s.thread(id)
	if t == nil || group >= MaxGroups && group != NoGroup || t.group == group {
		return 0
	}
	waiting := s.detach(id)
	kick = s.recount(t, now)
	t.group = group
	if waiting {
		kick |= s.place(id, now)
	}
	return kick
}

// SetWeight sets the weight of each thread of group, 1 to 65535.
func (s *Scheduler) SetWeight(group uint16, weight uint32) {
	if group >= MaxGroups || weight-1 >= 65535 {
		return
	}
	s.groups[group].weight = weight
	// A demoted host thread weighs as much as the heaviest vcpu: guests must not
	// starve the host.
	s.maxWeight = hostWeight
	for i := range s.groups {
		s.maxWeight = max(s.maxWeight, s.groups[i].weight)
	}
}

// SetCap limits the threads of group together to percent of one CPU; 0 is no
// limit.
func (s *Scheduler) SetCap(group uint16, percent uint32, now int64) (kick uint64) {
	if group >= MaxGroups || percent > 100*MaxCPUs {
		return 0
	}
	on := s.runners(group)
	for m := on; m != 0; m &= m - 1 {
		s.charge(lowest(m), now)
	}
	g := &s.groups[group]
	g.cap = percent
	g.budget, g.period = g.quota(), now/capPeriod
	for g.parked != none {
		id := g.parked
		s.unpark(id)
		kick |= s.place(id, now)
	}
	return kick | s.kick(on)
}

// ResetGroup gives group its first state again, for the next domain with its id:
// default weight, no cap, no run time.
func (s *Scheduler) ResetGroup(group uint16, now int64) (kick uint64) {
	if group >= MaxGroups {
		return 0
	}
	kick = s.SetCap(group, 0, now)
	s.SetWeight(group, DefaultWeight)
	s.groups[group].runtime = 0
	return kick
}

// SetBusy says before Pick, of the thread that runs, whether it has something that others may
// wait for, such as a lock: its group's cap does not keep it from running then, also after
// it has blocked. What it runs is charged, and counts when it is busy no more.
func (s *Scheduler) SetBusy(id uint16, busy bool) {
	if t := s.thread(id); t != nil {
		t.busy = busy
	}
}

// Late tells whether a busy thread would not run if it were not busy: its group is out of
// budget.
func (s *Scheduler) Late(id uint16, now int64) bool {
	t := s.thread(id)
	return t != nil && t.busy && s.over(t, now)
}

// SetAffinity sets the CPUs that a thread may use, and those of them that it
// prefers; soft without any of hard is no preference. A hard set of no CPU is
// ignored; one of CPUs that are offline makes the thread wait for them.
func (s *Scheduler) SetAffinity(id uint16, hard, soft uint64, now int64) (kick uint64) {
	t := s.thread(id)
	if t == nil || hard == 0 {
		return 0
	}
	waiting := s.detach(id)
	t.hard, t.soft = hard, soft
	if waiting {
		return s.place(id, now)
	}
	if t.where == running && t.prefers()>>t.cpu&1 == 0 {
		return s.kick(1 << t.cpu)
	}
	return 0
}

// Spare makes host threads that wake wait for a moment for a CPU that runs another host thread
// before they take that of vcpu id: its guest loses much with each interruption. Most
// threads that Go's runtime wakes look for work and find none, or only what the one that woke them would
// have done next.
func (s *Scheduler) Spare(id uint16, spared bool) {
	t := s.thread(id)
	if t == nil || t.spared == spared {
		return
	}
	if t.spared = spared; spared {
		s.spares++
	} else {
		s.spares--
	}
}

// Runtime is how long a thread has run.
func (s *Scheduler) Runtime(id uint16, now int64) int64 {
	t := s.thread(id)
	if t == nil {
		return 0
	}
	r := t.runtime
	if t.where == running {
		r += max(0, now-s.cpus[t.cpu].since)
	}
	return r
}

// GroupRuntime is how long all threads of group have run, those that are gone
// included.
func (s *Scheduler) GroupRuntime(group uint16, now int64) int64 {
	if group >= MaxGroups {
		return 0
	}
	r := s.groups[group].runtime
	for m := s.runners(group); m != 0; m &= m - 1 {
		r += max(0, now-s.cpus[lowest(m)].since)
	}
	return r
}

func (s *Scheduler) thread(id uint16) *thread {
	if id >= MaxThreads || s.threads[id].where == absent {
		return nil
	}
	return &s.threads[id]
}

// detach takes a queued or parked thread out, to be placed anew.
func (s *Scheduler) detach(id uint16) bool {
	switch s.threads[id].where {
	case queued:
		s.unlink(id)
	case parked:
		s.unpark(id)
	default:
		return false
	}
	return true
}

// recount charges t, if it runs, before what it is charged as changes.
func (s *Scheduler) recount(t *thread, now int64) uint64 {
	if t.where != running {
		return 0
	}
	s.charge(int(t.cpu), now)
	return s.kick(1 << t.cpu)
}

// kick marks CPUs that must call Pick and returns those that were not marked yet.
func (s *Scheduler) kick(set uint64) uint64 {
	set &= s.online &^ s.kicked
	s.kicked |= set
	return set
}

// runners is the set of CPUs that run a thread of group.
func (s *Scheduler) runners(group uint16) (set uint64) {
	for m := s.online &^ s.idle; m != 0; m &= m - 1 {
		if c := &s.cpus[lowest(m)]; c.cur != none && s.threads[c.cur].group == group {
			set |= m & -m
		}
	}
	return set
}

// prefers is the set of CPUs that t should run on.
func (t *thread) prefers() uint64 {
	if m := t.hard & t.soft; m != 0 {
		return m
	}
	return t.hard
}
