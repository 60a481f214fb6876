package shell

import (
	"context"
	"strings"
)

func helpCommands() []*command {
	return []*command{{name: "help", aliases: []string{"?"}, args: "[COMMAND]", summary: "list the commands, or explain one", max: 1, kinds: []argKind{argCommand}, offline: true, run: help,
		options: []option{{long: "long", help: "accepted as xl's"}}},
		{name: "completion", args: "bash|zsh|fish", summary: "print a script that completes xl's arguments in that shell", min: 1, max: 1, kinds: []argKind{argShell}, offline: true, run: completion}}
}

func help(_ context.Context, c *call) error {
	if len(c.args) == 1 {
		cmd, err := find(c.args[0])
		if err != nil {
			return err
		}
		(&call{Session: c.Session, cmd: cmd}).usage()
		return nil
	}
	if !c.prompting {
		c.printf("usage: xl COMMAND [ARGUMENTS]\n\n")
	} else {
		c.printf("Commands, with or without \"xl\" before them:\n\n")
	}
	for _, cmd := range commands() {
		c.printf(" %-20s %s\n", cmd.name, cmd.summary)
	}
	if !c.prompting {
		c.printf("\n\"xl help COMMAND\" explains one.\n")
		return nil
	}
	c.printf("\n\"help COMMAND\" explains one. Tab completes, Ctrl-R searches what was typed before, ^C\ninterrupts. Ctrl-A three times moves the input on to the next domain's console, and at\nlast back here; \"console DOM\" goes there at once, and ^] back.\n")
	return nil
}

// usageLine is the command's form on one line.
func (c *call) usageLine() string {
	s := "xl " + c.cmd.name
	for _, o := range c.cmd.options {
		s += " [" + o.form(" ") + "]"
	}
	if c.cmd.args != "" {
		s += " " + c.cmd.args
	}
	return s
}

// form is the option as one types it, its short name if it has one.
func (o option) form(sep string) string {
	s, join := "-"+o.short, " "
	if o.short == "" {
		s, join = "--"+o.long, "="
	}
	if o.value != "" {
		s += join + o.value
	}
	return strings.ReplaceAll(s, " ", sep)
}

// usage explains the command.
func (c *call) usage() {
	c.printf("usage: %s\n%s.\n", c.usageLine(), strings.ToUpper(c.cmd.summary[:1])+c.cmd.summary[1:])
	for _, o := range c.cmd.options {
		form := o.form(" ")
		if o.short != "" && o.long != "" {
			form += ", --" + o.long
		}
		c.printf("  %-24s %s\n", form, o.help)
	}
}
