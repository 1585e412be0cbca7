// What the apps of the stories show after a sign-in; the walk of a person ends at these marks.

const page = (id, text) => `<!doctype html><title>App</title><main id="${id}">${text}</main>`

export const signedInPage = (did) => page('signed-in', did)
export const refusedPage = (error) => page('refused', error)
