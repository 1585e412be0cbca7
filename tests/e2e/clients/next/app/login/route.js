import { signIn } from '../../auth.js'

export const dynamic = 'force-dynamic'
export const GET = () => signIn('aip', { redirectTo: '/' })
