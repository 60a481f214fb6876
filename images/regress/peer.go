package regress

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"time"

	"nidus/images/builder"
	"nidus/images/qemu"
)

// peerCPU is QEMU's CPU less what QEMU 7.2 emulates wrongly for Xen.
const peerCPU = "EPYC,+svm,+npt,-smap,-monitor,-rdtscp"

var (
	dom0Prompt = regexp.MustCompile(`dom0# `) // may follow what a console cut off
	dom0Up     = regexp.MustCompile(`DOM0-INIT uptime=[\d.]+`)
)

// Peer measures Debian's Xen 4.17 under the same QEMU as Measure measures Nidus, and
// calls got with each figure, of the measurements that benches are among. The figures'
// names are those of Nidus's.
func Peer(ctx context.Context, b *builder.Builder, benches []Bench, got func(Figure)) error {
	// Xen emulates the TSC where, as under TCG, it isn't said to be invariant.
	// That would be most of what is measured inside; so Xen gets the best mode.
	const native = `tsc_mode = "native"`
	files := map[string][]byte{
		"bench.cfg": linux("g", builder.Vmlinux, 1, "bench", native),
		"calls.cfg": calls(native),
		"disk.cfg":  diskBench("phy:/dev/ram0,xvda,w", native),
	}
	for _, k := range []string{builder.Vmlinux, builder.Vmlinuz} {
		files[k+".cfg"] = linux("g", k, 1, "tick")
	}
	maps.Copy(files, speedGuests(pvh, native))
	maps.Copy(files, pvPeerFiles(native))
	if err := b.Peer(files); err != nil {
		return err
	}
	var errs []error
	for _, c := range []struct {
		name string
		of   []string
		run  func(t *T, got func(Figure)) error
	}{
		{"bench-peer-xen", []string{"size", "boot", "create", "calls", "guest"}, peer},
		{"bench-peer-xen-devices", []string{"disk", "net"}, func(t *T, got func(Figure)) error { return peerDevices(t, "", got) }},
		{"bench-peer-xen-pv", []string{"pv-create", "pv-calls", "pv-guest"}, peerPV},
		{"bench-peer-xen-pv-devices", []string{"pv-disk", "pv-net"}, func(t *T, got func(Figure)) error { return peerDevices(t, "pv-", ofPV(got)) }},
	} {
		if slices.ContainsFunc(benches, func(b Bench) bool { return slices.Contains(c.of, b.Name) }) {
			errs = append(errs, runOne(ctx, b, Case{Name: c.name, Timeout: 20 * time.Minute, Run: func(t *T) error { return c.run(t, got) }}))
		}
	}
	return errors.Join(errs...)
}

func peer(t *T, got func(Figure)) error {
	size := 0.0
	for _, name := range []string{builder.PeerXen, builder.PeerKernel, builder.PeerInitrd} {
		s, err := os.Stat(t.Out("peer", name))
		if err != nil {
			return err
		}
		size += float64(s.Size()) / (1 << 20)
	}
	got(Figure{Name: "image size", Unit: "MiB", Median: size, Samples: 1})

	var boots []float64
	var inside error
	values := map[string][]float64{}
	for i := range repeats {
		fmt.Fprintf(t.Say, "booting Xen, %d of %d\n", i+1, repeats)
		h, err := t.bootPeer(1, &boots)
		if err != nil {
			return err
		}
		if i == 0 {
			own, err := h.peerMemory()
			if err != nil {
				return err
			}
			got(Figure{Name: "memory the hypervisor uses, of 4 GiB", Unit: "MiB", Median: own, Samples: 1})
		}
		for _, k := range []string{builder.Vmlinux, builder.Vmlinuz} {
			if err := h.peerCreate("", k, values); err != nil {
				return err
			}
		}
		if i == repeats-1 {
			inside = h.peerInside(got)
		}
		t.closeAll()
	}
	got(median("QEMU start to the shell's prompt", "s", boots))
	for _, name := range slices.Sorted(maps.Keys(values)) {
		got(median(name, "s", values[name]))
	}
	return inside
}

// bootPeer boots Xen with dom0, and waits for dom0's shell. What counts as the
// boot is the time to dom0's init: what follows is our own tar file.
func (t *T) bootPeer(cpus int, boots *[]float64) (*Host, error) {
	args := withCPU(QEMUArgs(cpus, 4096), peerCPU)
	dir := t.Out("peer") + "/"
	args = append(args, "-serial", "stdio", "-monitor", "none",
		"-drive", "file="+dir+builder.PeerDisk+",format=raw,if=virtio,snapshot=on", "-kernel", dir+builder.PeerXen,
		"-append", "dom0_mem=1536M,max:1536M com1=115200,8n1 console=com1 loglvl=all guest_loglvl=all",
		"-initrd", dir+builder.PeerKernel+" console=hvc0 earlyprintk=xen loglevel=4 panic=5,"+dir+builder.PeerInitrd)
	m, err := qemu.Start(qemu.Command{Dir: t.dir, Args: args, Log: t.log})
	if err != nil {
		return nil, err
	}
	t.open = append(t.open, m.Close)
	up, err := m.Expect(dom0Up, t.within(2*time.Minute))
	if err != nil {
		return nil, err
	}
	*boots = append(*boots, up.At.Seconds())
	_, err = m.Expect(dom0Prompt, t.within(3*time.Minute))
	return &Host{m, t}, err
}

// dom0 runs a command in dom0's shell.
func (h *Host) dom0(line string, timeout time.Duration) (string, error) {
	if err := h.Send(line + "\r"); err != nil {
		return "", err
	}
	m, err := h.Expect(dom0Prompt, h.t.within(timeout))
	return m.Before, err
}

// peerMemory is what neither dom0 nor free memory accounts for.
func (h *Host) peerMemory() (float64, error) {
	const line = `xl info | awk '/^(total|free)_memory/{print $1 ":" $3}'; xl list | awk '$2==0{print "dom0:" $3}'`
	out, err := h.dom0(line, 30*time.Second)
	if err != nil {
		return 0, err
	}
	n := map[string]int{}
	for _, m := range regexp.MustCompile(`(?m)^(\w+):(\d+)\r*$`).FindAllStringSubmatch(out, -1) {
		n[m[1]], _ = strconv.Atoi(m[2]) // the pattern leaves only digits
	}
	if n["total_memory"] == 0 || n["dom0"] == 0 {
		return 0, fmt.Errorf("dom0's xl info and list printed %q", out)
	}
	return float64(n["total_memory"] - n["free_memory"] - n["dom0"]), nil
}

// peerCreate measures one create to the guest's init; its configuration's name begins with
// files.
func (h *Host) peerCreate(files, kernel string, values map[string][]float64) error {
	begin := h.Since()
	if err := h.Send("xl create -c " + files + kernel + ".cfg\r"); err != nil {
		return err
	}
	m, err := h.guestUp(1, 3*time.Minute)
	if err != nil {
		return err
	}
	up, err := strconv.ParseFloat(m.Groups[3], 64)
	if err != nil {
		return err
	}
	all := (m.At - begin).Seconds()
	for _, state := range []string{"cold", "warm"} { // Xen keeps nothing
		name := kernel + ", " + state
		values["create to the guest's init, "+name] = append(values["create to the guest's init, "+name], all)
		values["  of it outside the guest's kernel, "+name] = append(values["  of it outside the guest's kernel, "+name], all-up)
	}
	values["guest kernel's uptime at init"] = append(values["guest kernel's uptime at init"], up)
	if err := h.leavePeer(); err != nil {
		return err
	}
	_, err = h.dom0("xl destroy g", time.Minute)
	return err
}

// leavePeer leaves a guest's console for dom0's shell.
func (h *Host) leavePeer() error {
	if err := h.Send("\x1d"); err != nil {
		return err
	}
	_, err := h.Expect(dom0Prompt, h.t.within(30*time.Second))
	return err
}

// peerInside runs the guests' benchmarks.
func (h *Host) peerInside(got func(Figure)) error {
	return errors.Join(h.peerFigures("calls.cfg", got), h.peerFigures("bench.cfg", got))
}

// peerDevices measures a guest's devices, with the CPUs that Nidus has for them; its
// configurations' names begin with files.
func peerDevices(t *T, files string, got func(Figure)) error {
	var boots []float64
	h, err := t.bootPeer(deviceCPUs, &boots)
	if err != nil {
		return err
	}
	defer t.closeAll()
	if err := h.peerFigures(files+"disk.cfg", got); err != nil {
		return err
	}
	const bridge = "ip link add xenbr0 type bridge; ip addr add " + speedHost + "/24 dev xenbr0; ip link set xenbr0 up; /guests/bench serve " + speedPort + " >/dev/null &"
	if _, err := h.dom0(bridge, 20*time.Second); err != nil {
		return err
	}
	if err := h.peerFigures(files+"host.cfg", got); err != nil {
		return err
	}
	if err := h.Send("xl create -c " + files + "served.cfg\r"); err != nil {
		return err
	}
	if _, err := h.Expect(regexp.MustCompile("NIDUS-GUEST-SERVES"), h.t.within(2*time.Minute)); err != nil {
		return err
	}
	if err := h.leavePeer(); err != nil {
		return err
	}
	return h.peerFigures(files+"guest.cfg", got)
}

// peerFigures creates a guest that measures, and reads its figures until dom0's prompt is back.
func (h *Host) peerFigures(cfg string, got func(Figure)) error {
	fs, err := h.measured(cfg)
	for _, f := range fs {
		got(f)
	}
	if err != nil {
		return err
	}
	_, err = h.Expect(dom0Prompt, h.t.within(time.Minute))
	return err
}
