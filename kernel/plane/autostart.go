package plane

import (
	"context"
	"slices"
	"strings"

	"nidus/kernel/console"
	"nidus/kernel/core"
)

// autoWord is the module argument that marks a configuration as one of the folder
// auto/ (images/media/grub.cfg).
const autoWord = "auto"

// AutostartNames returns the names of the configurations to start, in order: those
// listed, to whose names ".cfg" is added where only that is a module, then the modules
// that are marked auto, by name. None is named twice.
func AutostartNames(listed []string, modules []core.Module) []string {
	var marked, names []string
	there := map[string]bool{}
	for _, m := range modules {
		there[m.Name] = true
		if slices.Contains(strings.Fields(m.Args), autoWord) {
			marked = append(marked, m.Name)
		}
	}
	slices.Sort(marked)
	for _, n := range slices.Concat(listed, marked) {
		if base := n[strings.LastIndexByte(n, '/')+1:]; !there[n] && !there[base] && there[base+".cfg"] {
			n = base + ".cfg"
		}
		if !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	return names
}

// Autostart creates the domains of the named boot modules, in order. One that can't be
// created does not keep the others from it; the host's end does.
func (p *Plane) Autostart(ctx context.Context, names []string, create func(ctx context.Context, name string) error) {
	for _, n := range names {
		if p.core.Ending() != nil {
			return
		}
		if err := create(ctx, n); err != nil {
			p.log.Printf(console.LevelError, "autostart of %s: %v", n, err)
		}
	}
}
