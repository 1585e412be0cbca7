import { held } from '../../auth.js'

export const dynamic = 'force-dynamic'
export const GET = () => Response.json(held)
