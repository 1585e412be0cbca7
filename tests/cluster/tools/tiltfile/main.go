// Executes a Tiltfile without Tilt: a Starlark interpreter with stand-ins for Tilt's functions
// (https://docs.tilt.dev/api.html, v0.36) that record their calls. `local` runs its command. The calls
// are written to standard output as JSON.
//
//	tiltfile TILTFILE [ARGUMENT ...]
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"
)

// Call is one call of a function of Tilt that changes what Tilt does.
type Call struct {
	Function  string         `json:"function"`
	Arguments map[string]any `json:"arguments"`
}

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: tiltfile TILTFILE [ARGUMENT ...]")
		os.Exit(2)
	}
	calls, err := execute(os.Args[1], os.Args[2:])
	if err != nil {
		var failed *starlark.EvalError
		if errors.As(err, &failed) {
			fmt.Fprintln(os.Stderr, failed.Backtrace())
		}
		fmt.Fprintf(os.Stderr, "error: %v\n", err)
		os.Exit(1)
	}
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(calls); err != nil {
		fmt.Fprintf(os.Stderr, "error: %v\n", err)
		os.Exit(1)
	}
}

func execute(path string, arguments []string) ([]Call, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	tilt := &standIn{folder: filepath.Dir(path), arguments: arguments, calls: []Call{}}
	// What Tilt allows beyond the language's core.
	options := &syntax.FileOptions{Set: true, GlobalReassign: true, TopLevelControl: true}
	thread := &starlark.Thread{
		Name:  path,
		Print: func(_ *starlark.Thread, text string) { fmt.Fprintln(os.Stderr, text) },
	}
	_, err = starlark.ExecFileOptions(options, thread, path, nil, tilt.globals())
	return tilt.calls, err
}
