package shell

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"nidus/xltool/xlcfg"
)

// TestManual compares docs/man with what the tables of commands and keys say;
// -update writes it.
func TestManual(t *testing.T) {
	for name, page := range map[string]string{"xl.1": commandManual(), "xl.cfg.5": keyManual()} {
		name = "../../docs/man/" + name
		if *update {
			if err := os.MkdirAll("../../docs/man", 0o777); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(name, []byte(page), 0o666); err != nil {
				t.Fatal(err)
			}
		}
		b, err := os.ReadFile(name)
		if err != nil || string(b) != page {
			t.Errorf("%s is not what the tables say; run go test ./xltool/shell -run TestManual -update (%v)", name, err)
		}
	}
}

// roff escapes a text for a line of its own, or for an argument of a macro.
func roff(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`, `"`, `\(dq`, "'", `\(aq`, "^", `\(ha`, "~", `\(ti`).Replace(s)
	if strings.HasPrefix(s, ".") {
		s = `\&` + s
	}
	return s
}

const manualHead = ".\\\" Made from the table of %s by\n.\\\" go test ./xltool/shell -run TestManual -update\n.TH %s %s \"\" Nidus\n"

func commandManual() string {
	var b strings.Builder
	fmt.Fprintf(&b, manualHead, "commands", "XL", "1")
	b.WriteString(`.SH NAME
xl \- manage the domains of a Nidus host
.SH SYNOPSIS
.B xl
.I command
.RI [ options ]
.RI [ arguments ]
.SH DESCRIPTION
Names, options, columns and exit statuses are those of Xen's
.BR xl .
At the console of a Nidus host the word
.B xl
may be left out.
.B xm
is an alias.
A domain
.RI ( DOM )
is given by its name or its number.
Options may stand anywhere, short ones may be joined, and
.B \-\-
ends them.
.B \-h
or
.B \-\-help
explains a command.
.SH COMMANDS
`)
	for _, c := range commands() {
		fmt.Fprintf(&b, ".TP\n.B %s\n", roff(strings.TrimPrefix((&call{cmd: c}).usageLine(), "xl ")))
		text := strings.ToUpper(c.summary[:1]) + c.summary[1:] + "."
		if len(c.aliases) > 0 {
			text += " Also: " + strings.Join(c.aliases, ", ") + "."
		}
		b.WriteString(roff(text) + "\n")
		if len(c.options) == 0 {
			continue
		}
		b.WriteString(".RS\n")
		for _, o := range c.options {
			value := ""
			if o.value != "" {
				value = " " + o.value
			}
			fmt.Fprintf(&b, ".TP\n.B %s%s\n%s\n", roff(strings.Join(o.flags(), ", ")), roff(value), roff(o.help))
		}
		b.WriteString(".RE\n")
	}
	b.WriteString(".SH NOT YET THERE\nThese commands of Xen's xl say what is missing, and fail.\n")
	for _, g := range notYet {
		fmt.Fprintf(&b, ".TP\n.B %s\n%s.\n", roff(strings.Join(strings.Fields(g.names), ", ")), roff(strings.ToUpper(g.reason[:1])+g.reason[1:]))
	}
	b.WriteString(`.SH EXIT STATUS
0, or 1 if the command failed; then a line on standard error says why and what to do.
.SH SEE ALSO
.BR xl.cfg (5)
`)
	return b.String()
}

func keyManual() string {
	var b strings.Builder
	fmt.Fprintf(&b, manualHead, "keys", "XL.CFG", "5")
	b.WriteString(`.SH NAME
xl.cfg \- the configuration of a domain of Nidus
.SH DESCRIPTION
A line is
.IR key " = " value ;
.B +=
adds to what is there,
.B ;
ends a line too, and
.B #
begins a comment.
A value is a number (512, 0x200, 01000), a string in quotes, or a list in brackets.
The keys are those of Xen's
.BR xl.cfg .
What is not acted on is a warning; an unknown key, a value that is none, and a
contradiction are errors.
`)
	for _, part := range []struct {
		state xlcfg.KeyState
		title string
	}{
		{xlcfg.Acted, "KEYS"},
		{xlcfg.Kept, "KEYS THAT ARE CHECKED, AND NOT ACTED ON YET"},
		{xlcfg.Ignored, "KEYS THAT ARE IGNORED"},
		{xlcfg.Obsolete, "KEYS OF XM"},
	} {
		fmt.Fprintf(&b, ".SH %s\n", part.title)
		for _, k := range xlcfg.Table() {
			if k.State != part.state {
				continue
			}
			fmt.Fprintf(&b, ".TP\n.BR %s \" (%s)\"\n%s\n", roff(k.Name), roff(k.Type), roff(k.Why))
		}
	}
	b.WriteString(".SH SEE ALSO\n.BR xl (1)\n")
	return b.String()
}

// TestTableTexts: every command and option has a text, and no two options of a
// command, and no two commands, one name.
func TestTableTexts(t *testing.T) {
	names := map[string]bool{}
	for _, g := range notYet {
		for n := range strings.FieldsSeq(g.names) {
			if names[n] {
				t.Errorf("%s is not there twice", n)
			}
			names[n] = true
		}
	}
	for _, c := range commands() {
		if c.summary == "" || strings.HasSuffix(c.summary, ".") || len(c.summary) > 70 || c.run == nil {
			t.Errorf("%s: summary %q", c.name, c.summary)
		}
		for _, n := range append([]string{c.name}, c.aliases...) {
			if names[n] {
				t.Errorf("%s is there twice", n)
			}
			names[n] = true
		}
		flags := map[string]bool{"-h": true, "--help": true}
		for _, o := range c.options {
			if o.help == "" || len(o.flags()) == 0 {
				t.Errorf("%s: option %+v", c.name, o)
			}
			for _, f := range o.flags() {
				if flags[f] {
					t.Errorf("%s: %s is there twice", c.name, f)
				}
				flags[f] = true
			}
		}
	}
	// The subcommands of xl(1) of Xen 4.17.
	for n := range strings.FieldsSeq(`button-press create config-update console destroy domid domname rename dump-core help list mem-set mem-max
		migrate remus pause reboot restore save sharing shutdown sysrq trigger unpause vcpu-set vcpu-list vcpu-pin vm-list vncviewer
		debug-keys set-parameters dmesg info top uptime claims sched-credit sched-credit2 sched-rtds cpupool-create cpupool-list
		cpupool-destroy cpupool-rename cpupool-cpu-add cpupool-cpu-remove cpupool-migrate cpupool-numa-split block-attach block-detach
		block-list cd-insert cd-eject network-attach network-detach network-list channel-list vtpm-attach vtpm-detach vtpm-list
		vdispl-attach vdispl-detach vdispl-list vsnd-attach vsnd-detach vsnd-list vkb-attach vkb-detach vkb-list pci-assignable-list
		pci-assignable-add pci-assignable-remove pci-attach pci-detach pci-list usbctrl-attach usbctrl-detach usbdev-attach
		usbdev-detach usb-list qemu-monitor-command getenforce setenforce loadpolicy psr-hwinfo psr-cmt-attach psr-cmt-detach
		psr-cmt-show psr-cat-set psr-cat-show psr-mba-set psr-mba-show soft-reset devd`) {
		if !names[n] {
			t.Errorf("xl's %s is unknown", n)
		}
	}
}
