package shell

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"nidus/rpc/control"
	"nidus/xltool/xlcfg"
)

// argKind says what an argument is, for completion.
type argKind uint8

const (
	argOther argKind = iota
	argDomain
	argModule
	argCommand
	argTrigger
	argKey
	argShell
)

// command is one subcommand.
type command struct {
	name    string
	aliases []string
	args    string // in the usage line
	summary string
	// options are the flags; one with a value has what it is in value.
	options []option
	// min and max bound the number of arguments; max < 0 is no bound.
	min, max int
	// kinds are the arguments' kinds; the last one stands for all further.
	kinds []argKind
	// offline: it asks nothing of the control plane.
	offline bool
	run     func(ctx context.Context, c *call) error
}

// option is a flag such as -c, --clear, or -d DOMAIN, --domain=DOMAIN.
type option struct {
	short, long string
	value       string
	help        string
	// kind is that of the value.
	kind argKind
}

var jsonOption = option{long: "json", help: "print JSON"}

// commands returns all subcommands in the order in which help lists them.
func commands() []*command {
	return slices.Concat(domainCommands(), lifeCommands(), vcpuCommands(), resourceCommands(), guestCommands(), deviceCommands(), storeCommands(), stateCommands(),
		hostCommands(), certCommands(), helpCommands())
}

// hint is for those who type what they know from elsewhere.
func hint(name string) string {
	switch name {
	case "exit", "quit", "logout", "bye":
		return `the shell never ends: "poweroff" turns the host off, Ctrl-A three times goes to the next domain`
	case "halt":
		return `"poweroff" turns the host off, "shutdown DOM" a domain`
	case "ls", "dir", "files":
		return `"modules" lists the files, "list" the domains`
	case "cert":
		return `"cert-list" lists who may connect over the network; "help" has all commands that begin so`
	case "clear", "cls", "reset":
		return "Ctrl-L clears the screen"
	case "ps":
		return `"list" shows the domains, "vcpu-list" what their vcpus do`
	case "start", "run", "boot":
		return `"create FILE" starts a domain; "modules" lists the files`
	case "kill", "stop":
		return `"destroy DOM" ends a domain at once, "shutdown DOM" asks it to end`
	}
	return ""
}

func find(name string) (*command, error) {
	var names []string
	for _, c := range commands() {
		if c.name == name || slices.Contains(c.aliases, name) {
			return c, nil
		}
		names = append(append(names, c.name), c.aliases...)
	}
	if why := whyNotYet(name); why != "" {
		return nil, control.Errorf(control.ErrNotYet, "%s is not there yet: %s; \"help\" lists what is", name, why)
	}
	if h := hint(name); h != "" {
		return nil, control.Errorf(control.ErrBadArgument, "there is no %s here; %s", name, h)
	}
	if near := xlcfg.Suggest(name, names); near != "" {
		return nil, control.Errorf(control.ErrBadArgument, "unknown command %q, did you mean %q?", name, near)
	}
	return nil, control.Errorf(control.ErrBadArgument, "unknown command %q; \"help\" lists what there is", name)
}

// lookup finds the command that a command line begins with, and returns what
// follows it. A leading "xl" or "xm" and xl's global options, which change
// nothing here, are skipped; nothing stands for help.
func lookup(args []string) (*command, []string, error) {
	if len(args) > 0 && (args[0] == "xl" || args[0] == "xm") {
		args = args[1:]
	}
	for len(args) > 0 && slices.Contains([]string{"-v", "-f", "-t", "-T"}, args[0]) {
		args = args[1:]
	}
	if len(args) == 0 {
		args = []string{"help"}
	}
	if len(args) > 1 && (args[0]+"-" == storePrefix || args[0]+"-" == certPrefix) {
		args = append([]string{args[0] + "-" + args[1]}, args[2:]...)
	}
	cmd, err := find(args[0])
	return cmd, args[1:], err
}

// call is one run of a command.
type call struct {
	*Session
	cmd  *command
	args []string
	opts map[string][]string
}

// opt tells whether a flag was given, by either of its names.
func (c *call) opt(names ...string) bool { return c.count(names...) > 0 }

// count returns how often a flag was given.
func (c *call) count(names ...string) int {
	n := 0
	for _, name := range names {
		n += len(c.opts[name])
	}
	return n
}

// optValue returns the last value given for an option.
func (c *call) optValue(names ...string) (string, bool) {
	for _, name := range names {
		if v := c.opts[name]; len(v) > 0 {
			return v[len(v)-1], true
		}
	}
	return "", false
}

func (c *call) usageError(format string, args ...any) error {
	return usageError{control.Errorf(control.ErrBadArgument, "%s; usage: %s", fmt.Sprintf(format, args...), c.usageLine())}
}

// usageError is an error of the arguments' form.
type usageError struct{ error }

// Unwrap returns the error, for errors.As.
func (e usageError) Unwrap() error { return e.error }

// parse splits arguments into flags and others as getopt_long does: flags may
// stand anywhere, short ones may be joined, -- ends them.
func (c *call) parse(args []string) error {
	c.opts = map[string][]string{}
	for len(args) > 0 {
		a := args[0]
		args = args[1:]
		var err error
		switch {
		case a == "--":
			c.args = append(c.args, args...)
			args = nil
		case strings.HasPrefix(a, "--"):
			args, err = c.parseLong(a[2:], args)
		case len(a) > 1 && a[0] == '-' && !isNumber(a):
			args, err = c.parseShort(a[1:], args)
		default:
			c.args = append(c.args, a)
		}
		if err != nil {
			return err
		}
	}
	if c.opt("h", "help") {
		return nil
	}
	if len(c.args) < c.cmd.min {
		return c.usageError("an argument is missing")
	}
	if c.cmd.max >= 0 && len(c.args) > c.cmd.max {
		return c.usageError("%q is one argument too many", c.args[c.cmd.max])
	}
	return nil
}

// xmOptions are options that howtos for xm have.
var xmOptions = map[string]string{
	"shutdown -R": `"reboot DOM" reboots a domain`,
	"shutdown -H": "shutdown halts a domain without it",
	"reboot -R":   "leave it away",
	"create -x":   "leave it away",
}

func isNumber(s string) bool {
	_, err := strconv.Atoi(s)
	return err == nil
}

func (c *call) find(name string, long bool) (option, bool) {
	for _, o := range append(c.cmd.options, option{short: "h", long: "help"}) {
		if name != "" && (long && o.long == name || !long && o.short == name) {
			return o, true
		}
	}
	return option{}, false
}

func (c *call) parseLong(s string, rest []string) ([]string, error) {
	name, value, hasValue := strings.Cut(s, "=")
	o, ok := c.find(name, true)
	switch {
	case !ok:
		return nil, c.usageError("unknown option --%s", name)
	case o.value == "" && hasValue:
		return nil, c.usageError("option --%s takes no value", name)
	case o.value != "" && !hasValue:
		if len(rest) == 0 {
			return nil, c.usageError("option --%s needs a %s", name, o.value)
		}
		value, rest = rest[0], rest[1:]
	}
	c.opts[name] = append(c.opts[name], value)
	return rest, nil
}

func (c *call) parseShort(s string, rest []string) ([]string, error) {
	for len(s) > 0 {
		name := s[:1]
		s = s[1:]
		o, ok := c.find(name, false)
		if was := xmOptions[c.cmd.name+" -"+name]; !ok && was != "" {
			return nil, c.usageError("-%s was xm's: %s", name, was)
		}
		if !ok {
			return nil, c.usageError("unknown option -%s", name)
		}
		value := ""
		if o.value != "" {
			switch {
			case s != "":
				value, s = strings.TrimPrefix(s, "="), ""
			case len(rest) > 0:
				value, rest = rest[0], rest[1:]
			default:
				return nil, c.usageError("option -%s needs a %s", name, o.value)
			}
		}
		c.opts[name] = append(c.opts[name], value)
	}
	return rest, nil
}

// domain resolves an argument, and adds to the error what to do.
func (c *call) domain(ctx context.Context, ref string) (control.DomainInfo, error) {
	d, err := c.Plane.Domain(ctx, ref)
	if control.CodeOf(err) == control.ErrNoDomain {
		return d, control.Errorf(control.ErrNoDomain, "no domain %q; \"list\" shows those that there are", ref)
	}
	return d, err
}

// domains resolves arguments; none stands for all domains.
func (c *call) domains(ctx context.Context, refs []string) ([]control.DomainInfo, error) {
	if len(refs) == 0 {
		return c.Plane.ListDomains(ctx)
	}
	var out []control.DomainInfo
	for _, r := range refs {
		d, err := c.domain(ctx, r)
		if err != nil {
			return nil, err
		}
		out = append(out, d)
	}
	return out, nil
}

func (c *call) printf(format string, args ...any) { fmt.Fprintf(c.Stdout, format, args...) }

func (c *call) printJSON(v any) error {
	b, err := json.MarshalIndent(v, "", "    ")
	if err != nil {
		return err
	}
	c.printf("%s\n", b)
	return nil
}
